"""What the writers of data sets share: an output folder of their own, whole files, processes."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

MARKER = "shapes.json"  # tells a folder that a writer wrote, or began to, and its settings


class OutputFolderError(Exception):
    """The output folder is not one to write to; the message, of one line, says why."""


@dataclass(frozen=True)
class Layout:
    """What a run writes, as paths relative to its output folder.

    Attributes:
        folders: Those that hold nothing but these files and folders; parents come before theirs.
            When a later run replaces the files, they go in the order of their folders.
        files: All but the marker.
    """

    folders: list[str]
    files: list[str]


def claim(out_dir: Path, layout: Callable[[dict], Layout], settings: dict) -> None:
    """Make the layout's folders, without an earlier run's files, and leave a marker.

    Args:
        out_dir: Made if missing. An earlier run's files in it are removed, all of them.
        layout: Gives what a run with some settings writes.
        settings: Those of this run, for JSON: ``format``, the layout's name, and what ``layout``
            needs. The marker holds them, to tell an earlier run's files from others.

    Raises:
        OutputFolderError: If ``out_dir`` is no folder, has other files where ours would go, or
            holds a set of another format. It is as it was then.
        OSError: If a file or folder cannot be removed or made.
    """
    new, old = layout(settings), _earlier(out_dir, layout, settings["format"])
    for path in _earlier_files(out_dir, old, new):
        path.unlink()
    for name in reversed(old.folders):
        if name not in new.folders and (out_dir / name).exists():
            (out_dir / name).rmdir()
    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(out_dir / MARKER, {"generator": "lsnet_mm Shapes", **settings})
    for name in new.folders:
        (out_dir / name).mkdir(parents=True, exist_ok=True)


def _earlier(out_dir: Path, layout: Callable[[dict], Layout], name: str) -> Layout:
    """Return what the run that left the folder's marker, if any, may have written.

    Args:
        out_dir: The folder.
        layout: As for ``claim``.
        name: Of the format that the run must have had.
    """
    marker = out_dir / MARKER
    if not marker.exists():
        return Layout([], [])
    try:
        # Markers without a format are from when there was but one.
        settings = {"format": "coco"} | json.loads(marker.read_text())
        if settings["format"] == name:
            return layout(settings)
    except (ValueError, TypeError, KeyError):
        raise OutputFolderError(f"{marker} was not written by this tool") from None
    raise OutputFolderError(
        f"{out_dir} holds a set of format {settings['format']}: choose another folder"
    )


def _earlier_files(out_dir: Path, old: Layout, new: Layout) -> list[Path]:
    """Return the files that an earlier run left; raise if there are others where ours would go."""
    folders = [out_dir / name for name in dict.fromkeys(new.folders + old.folders)]
    for folder in [out_dir, *folders]:
        if folder.exists() and not folder.is_dir():
            raise OutputFolderError(f"{folder} is not a folder")
    own_folders = {out_dir / name for name in old.folders}
    own_files = {out_dir / name for name in old.files}
    found = [path for folder in folders if folder.exists() for path in folder.iterdir()]
    files = [path for path in found if path not in own_folders]
    for path in files:
        if path.with_name(path.name.removesuffix(".part")) not in own_files:
            raise OutputFolderError(f"{path} was not written by this tool: choose another folder")
    return files


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, as ``write_file`` does."""
    write_file(path, json.dumps(content, separators=(",", ":")).encode())


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, uint8, RGB (H, W, 3) or of one channel (H, W), as ``write_file`` does."""
    _, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)
    write_file(path, data.tobytes())


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; an ``OSError`` names the file."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def for_each_scene(work: Callable[[int], Any], count: int, label: str) -> list:
    """Return ``work(index)`` of every index below ``count``, from processes, in order.

    Args:
        work: To be pickled, and its results too.
        count: 0 or more.
        label: Of the progress bar, which shows on a terminal.

    Raises:
        BrokenProcessPool: If a process was killed.
        Exception: What ``work`` raises.
    """
    pool = ProcessPoolExecutor(os.cpu_count(), initializer=_start_worker)
    try:
        results = pool.map(work, range(count))
        return list(tqdm(results, label, total=count, unit="image", disable=None))
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to answer
    cv2.setNumThreads(0)  # the processes are enough, and OpenCV's threads do not survive a fork
