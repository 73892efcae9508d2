"""What ``tools/infer.py`` does once its arguments are parsed."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from lsnet_mm.errors import InputError

from .inputs import Source, Video, find_sources
from .networks import Prepared
from .predictor import Predictor
from .results import Detections, LabelMap, Result


class Item(NamedTuple):
    """An image, or a frame of a video.

    Attributes:
        source: Its file.
        prepared: The image itself.
        frame: Its number from 0, of a video.
        fps: Of the video.
    """

    source: Source
    prepared: Prepared
    frame: int | None = None
    fps: float = 0.0


def infer(args: argparse.Namespace) -> int:
    """Predict as ``tools/infer.py``'s arguments say.

    Returns:
        How many images and videos had to be skipped.

    Raises:
        InputError: If the arguments cannot be used, or results cannot be written.
    """
    sources = find_sources(args.inputs)
    predictor = Predictor(
        args.model, args.checkpoint, args.device, args.cfg_options, args.trust_checkpoint
    )
    if args.csv and predictor.task != "classification":
        raise InputError(f"--csv is for classifiers: for {predictor.task} take --json")
    skipped: list[str] = []
    try:
        with (
            closing(Writer(Path(args.out_dir), args.json, args.csv, args.score_thr)) as writer,
            tqdm(total=_count(sources), unit=" images", disable=None) as bar,
        ):

            def skip(error: InputError) -> None:
                skipped.append(str(error))
                bar.write(f"skipped: {error}", file=sys.stderr)
                bar.update()

            items = _items(sources, predictor, skip)
            while batch := list(islice(items, args.batch_size)):
                results = predictor.predict([item.prepared for item in batch])
                for item, result in zip(batch, results, strict=True):
                    writer.write(item, result)
                    bar.update()
    except OSError as error:
        raise InputError(f"results cannot be written: {error}") from error
    written = ", ".join(filter(None, (f"pictures in {args.out_dir}", args.json, args.csv)))
    print(f"{writer.count} images: {written}")
    if skipped:
        print(f"{len(skipped)} could not be read and were skipped", file=sys.stderr)
    return len(skipped)


def _count(sources: list[Source]) -> int:
    """Images and frames to expect."""
    total = 0
    for source in sources:
        with suppress(InputError):  # told when its turn comes
            total += Video(source.path).frames if source.is_video else 1
    return total


def _items(
    sources: list[Source], predictor: Predictor, skip: Callable[[InputError], None]
) -> Iterator[Item]:
    """Read and prepare all images and frames, and call ``skip`` for those that cannot be."""
    for source in sources:
        try:
            if not source.is_video:
                yield Item(source, predictor.prepare(source.path))
                continue
            video = Video(source.path)
            for frame, image in enumerate(video):
                yield Item(source, predictor.prepare(image, source.name), frame, video.fps)
        except InputError as error:
            skip(error)


class Writer:
    """Writes pictures and videos at once, records on closing.

    Args:
        folder: For pictures.
        json_file: For records; label maps then go to ``folder/labels``.
        csv_file: For records.
        score_thr: Score from which detections are drawn.

    Raises:
        OSError: If the folder cannot be made or written to.

    Attributes:
        count: Images and frames written so far.
    """

    def __init__(
        self, folder: Path, json_file: str | None, csv_file: str | None, score_thr: float
    ) -> None:
        self.folder, self.json_file, self.csv_file = folder, json_file, csv_file
        self.score_thr = score_thr
        self.count = 0
        self._records: list[dict[str, Any]] = []
        self._video: cv2.VideoWriter | None = None
        self._stem = ""
        for file in filter(None, (json_file, csv_file)):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            open(file, "a").close()  # to learn now, not after hours, that it cannot be written
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, item: Item, result: Result) -> None:
        """Draw a result and keep its records."""
        source, frame = item.source, item.frame
        self.count += 1
        picture = result.draw(score_thr=self.score_thr)
        if frame is None:
            picture.save(_path(self.folder / f"{source.stem}.jpg"), quality=92)
        else:
            self._add_frame(item, np.asarray(picture)[..., ::-1])
        name = dict(file_name=source.name) | ({} if frame is None else dict(frame=frame))
        if self.json_file and isinstance(result, LabelMap):
            file = f"labels/{source.stem}" + ("" if frame is None else f"/{frame:06d}") + ".png"
            result.save(_path(self.folder / file))
            name["label_map"] = file
        if isinstance(result, Detections) and frame is None:
            name["image_id"] = source.image_id
        self._records += [{**name, **record} for record in result.records()]

    def _add_frame(self, item: Item, image: np.ndarray) -> None:
        if self._stem != item.source.stem:
            self._end_video()
            path = _path(self.folder / f"{item.source.stem}.mp4")
            code, size = cv2.VideoWriter_fourcc(*"mp4v"), image.shape[1::-1]
            self._video = cv2.VideoWriter(str(path), code, item.fps, size)
            self._stem = item.source.stem
            if not self._video.isOpened():
                raise OSError(f"no video can be written to {path}")
        self._video.write(np.ascontiguousarray(image))

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.release()

    def close(self) -> None:
        """Write the records, and end the last video."""
        self._end_video()
        if self.json_file:
            Path(self.json_file).write_text(json.dumps(self._records))
        if self.csv_file:
            with open(self.csv_file, "w", newline="") as file:
                fields = list(dict.fromkeys(key for record in self._records for key in record))
                writer = csv.DictWriter(file, fields)
                writer.writeheader()
                writer.writerows(self._records)


def _path(path: Path) -> Path:
    """A path, with its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
