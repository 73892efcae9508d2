"""Image files of a data set: decoded in parallel, reduced to sizes, digests and problems."""

import hashlib
import signal
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from lsnet_mm.errors import InputError

CHUNK = 16  # files that a worker is sent at a time, at most
AHEAD = 4  # chunks that wait for each worker

# A data set is the user's own: a large image is no attack. One that its file cannot hold is damage,
# and decoders would take the memory for it before they notice.
Image.MAX_IMAGE_PIXELS = None
LARGE = 100_000_000  # pixels
SIDE, PIXELS = 1 << 20, 1 << 30  # what OpenCV reads at most
DENSEST = 10_000  # pixels that a byte of a file can stand for: 8256 in a PNG of two colours


class Problem(NamedTuple):
    """Something wrong with a data set.

    Attributes:
        kind: What problems of this kind have in common: a heading of the report.
        path: The file, folder or config it is in.
        what: The problem itself.
        warning: Whether the data can be used all the same.
    """

    kind: str
    path: str
    what: str
    warning: bool = False


class FileRecord(NamedTuple):
    """What an image file, and its label map if there is one, holds.

    Attributes:
        size: Width and height in pixels; (0, 0) if the image cannot be read.
        digest: Of the image file's bytes, 64 bits; 0 if it cannot be read.
        problems: Possibly none.
        pixels: Pixels of each class, then ignored ones, int64 (classes + 1,), or None without a
            usable label map.
    """

    size: tuple[int, int]
    digest: int
    problems: list[Problem]
    pixels: np.ndarray | None = None


@dataclass
class Inspection:
    """What the inspected files of a data set hold together.

    Attributes:
        sizes: Width and height in pixels, int32 (files, 2); 0 where an image cannot be read.
        digests: As ``FileRecord.digest``, uint64 (files,).
        problems: Those of all files.
        pixels: Sum of ``FileRecord.pixels``, or None without label maps.
        images: How many images show each class, int64 (classes,), or None without label maps.
    """

    sizes: np.ndarray
    digests: np.ndarray
    problems: list[Problem]
    pixels: np.ndarray | None = None
    images: np.ndarray | None = None


class UnusableFileError(Exception):
    """A file that is missing or cannot be decoded; ``problem`` tells."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def inspect_files(
    inspect: Callable[[Any], FileRecord], items: Sequence[Any], workers: int, name: str
) -> Inspection:
    """Inspect many files in parallel, with a progress bar on a terminal.

    Args:
        inspect: What is done with an item, in a worker process: a function of a module.
        items: What ``inspect`` takes, one for each image; small.
        workers: Number of processes, 1 or more; 1 works in this process.
        name: What the progress bar is labelled with.

    Raises:
        InputError: If a worker process was killed.
    """
    found = Inspection(np.empty((0, 2), np.int32), np.empty(0, np.uint64), [])
    sizes, digests = array("i"), array("Q")
    with tqdm(total=len(items), desc=name, unit=" images", disable=None) as bar:
        for records in _records(inspect, items, workers):
            for record in records:
                sizes.extend(record.size)
                digests.append(record.digest)
                _add(found, record)
            bar.update(len(records))
    found.sizes = np.array(sizes, np.int32).reshape(-1, 2)
    found.digests = np.array(digests, np.uint64)
    return found


def _add(found: Inspection, record: FileRecord) -> None:
    found.problems.extend(record.problems)
    if record.pixels is not None:
        shown = (record.pixels[:-1] > 0).astype(np.int64)
        found.pixels = record.pixels if found.pixels is None else found.pixels + record.pixels
        found.images = shown if found.images is None else found.images + shown


def _records(
    inspect: Callable[[Any], FileRecord], items: Sequence[Any], workers: int
) -> Iterator[list[FileRecord]]:
    """Yield the records of chunk after chunk, in order; only a few chunks wait at a time."""
    size = max(1, min(CHUNK, len(items) // workers))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    work = partial(_inspect_chunk, inspect)
    if min(workers, len(chunks)) <= 1:
        yield from map(work, chunks)
        return
    pool = ProcessPoolExecutor(min(workers, len(chunks)))
    try:
        waiting = deque()
        for chunk in chunks:
            with _interrupts_held():
                waiting.append(pool.submit(work, chunk))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for want of memory: try fewer --workers"
        ) from error
    except KeyboardInterrupt:
        for worker in active_children():
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait, as Python may lose it while it forks, and keep it from the new processes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _inspect_chunk(inspect: Callable[[Any], FileRecord], items: Sequence[Any]) -> list[FileRecord]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's, on odd metadata
        return [inspect(item) for item in items]


# One file.


def inspect_image(path: str) -> FileRecord:
    """Decode an image file, all of it; what is wrong is in the record."""
    try:
        with _problems_of(path):
            data = Path(path).read_bytes()
            image = Image.open(BytesIO(data))
            _check_size(image, len(data))
            size = image.size
            image.draft("L", (1, 1))  # of a JPEG: all bytes are decoded, to fewer pixels
            image.load()
            _check_end(image, data)
    except UnusableFileError as error:
        return FileRecord((0, 0), 0, [error.problem])
    digest = hashlib.blake2b(data, digest_size=8).digest()
    size = size[::-1] if _lies_on_its_side(image) else size
    return FileRecord(size, int.from_bytes(digest, "big"), [])


def load_image(path: str) -> Image.Image:
    """Return the decoded image of a file, as it is stored.

    Raises:
        UnusableFileError: If the file is missing or cannot be decoded.
    """
    with _problems_of(path):
        data = Path(path).read_bytes()
        image = Image.open(BytesIO(data))  # of a file, as many bytes are read as are announced
        _check_size(image, len(data))
        image.load()
        return image


@contextmanager
def _problems_of(path: str) -> Iterator[None]:
    """Raise UnusableFileError for whatever happens on reading and decoding a file."""
    try:
        yield
    except FileNotFoundError:
        problem = Problem("files that are missing", path, "does not exist")
    except UnidentifiedImageError:
        problem = Problem("files that do not decode", path, "is not an image")
    except Exception as error:  # PIL's readers raise anything on damaged data
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        problem = Problem("files that do not decode", path, what)
    else:
        return
    raise UnusableFileError(problem) from None


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an image in 8-bit RGB; transparency is dropped, 16 bits of grey are scaled down."""
    if image.mode.startswith("I;16"):  # Pillow would make all but the darkest values white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _check_size(image: Image.Image, size: int) -> None:
    """Raise ValueError for an opened image of more pixels than its file or OpenCV can hold.

    Its file has ``size`` bytes; OpenCV reads images for training.
    """
    width, height = image.size
    if width * height > max(LARGE, DENSEST * size):
        raise ValueError(f"{size} bytes cannot hold the {width}x{height} pixels that they announce")
    if max(width, height) > SIDE or width * height > PIXELS:
        most = f"{SIDE} a side and {PIXELS} in all"
        raise ValueError(f"OpenCV does not read {width}x{height} pixels: it takes {most}")


def _lies_on_its_side(image: Image.Image) -> bool:
    """Tell whether training turns a decoded image by a quarter, as its EXIF orientation says."""
    with suppress(Exception):  # EXIF data may be damaged where the image is not
        return image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return False


def _check_end(image: Image.Image, data: bytes) -> None:
    """Raise ValueError for an image whose end is missing, though decoders may not mind.

    For a JPEG, Pillow and OpenCV take padding for grey pixels. For a PNG, Pillow needs no more than
    the pixels, but OpenCV does not read it, or reserves what a part of it announces.
    """
    start_of_scan, end_of_image = b"\xff\xda", b"\xff\xd9"
    if image.format == "JPEG" and data.rfind(end_of_image) < data.rfind(start_of_scan):
        raise ValueError("the end of the image is missing")
    if image.format == "PNG" and not _has_last_chunk(data):
        raise ValueError("the end of the image is missing, or a part announces more than there is")


def _has_last_chunk(png: bytes) -> bool:
    at = 8
    while at + 12 <= len(png) and png[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return at + 12 <= len(png)
