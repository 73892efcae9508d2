"""Images and videos that a user names: files, folders and glob patterns."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lsnet_mm.errors import InputError

IMAGES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}


class Source(NamedTuple):
    """An image or a video.

    Attributes:
        path: Where it is.
        name: Its path below the folder that was named, or else its file name.
        stem: ``name`` without suffix, made different from all others'.
        image_id: The number that its file name is, or its position from 1 if not all are numbers.
    """

    path: Path
    name: str
    stem: str
    image_id: int

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        return self.path.suffix.lower() in VIDEOS


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """Find what is named, in order; folders are searched wholly and give their images alone.

    Raises:
        InputError: If there is no such file, or no image.
    """
    files = [found for text in inputs for found in _expand(text)]
    files = list(dict.fromkeys(files))
    stems: dict[str, None] = {}
    for _, name in files:
        stem = given = Path(name).with_suffix("").as_posix()
        number = 1
        while stem in stems:
            number += 1
            stem = f"{given}_{number}"
        stems[stem] = None
    ids = _image_ids(files)
    return [
        Source(path, name, stem, i) for (path, name), stem, i in zip(files, stems, ids, strict=True)
    ]


def _expand(text: str) -> list[tuple[Path, str]]:
    """Files of an argument with their names."""
    path = Path(text)
    if path.is_dir():
        found = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGES and f.is_file())
        if not found:
            raise InputError(f"{text}: no images in this folder ({', '.join(sorted(IMAGES))})")
        return [(file, file.relative_to(path).as_posix()) for file in found]
    if path.is_file():
        return [(path, path.name)]
    found = [Path(f) for f in sorted(glob.glob(text, recursive=True)) if Path(f).is_file()]
    if not found:
        raise InputError(f"{text}: no such file or folder, nor does it match any")
    return [(file, file.name) for file in found]


def _image_ids(files: Sequence[tuple[Path, str]]) -> Sequence[int]:
    names = [path.stem for path, _ in files]
    if all(name.isdecimal() for name in names) and len(set(map(int, names))) == len(names):
        return [int(name) for name in names]
    return range(1, len(names) + 1)


class Video:
    """A video's frames, to iterate over: BGR, uint8 (H, W, 3).

    Attributes:
        fps: Frames per second.
        frames: How many there are, as the file says.

    Raises:
        InputError: If it cannot be opened, or holds no frame.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        if not self._capture.isOpened():
            raise InputError(f"{path}: the video cannot be opened")

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            while (read := self._capture.read())[0]:
                count += 1
                yield read[1]
        finally:
            self._capture.release()
        if not count:
            raise InputError(f"{self.path}: no frame of the video can be decoded")
