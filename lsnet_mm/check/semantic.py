"""Checks of a data set with label maps, as mmseg reads it."""

import os.path as osp
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_dir_or_file
from PIL import Image

from lsnet_mm.check.contents import Contents
from lsnet_mm.check.files import (
    FileRecord,
    Inspection,
    Problem,
    UnusableFileError,
    inspect_image,
    load_image,
)
from lsnet_mm.check.grid import GRID, Thumbnail, colours, paint, pick, shrink
from lsnet_mm.check.statistics import class_table, listed, share

VALUES = 256  # of the 8 bits that mmseg keeps of a label
THIN = "label maps of a single row or column, which mmseg cannot read"


class Meaning(NamedTuple):
    """What the values of a label map mean.

    Attributes:
        table: Class of each value, int64 (VALUES + 1,): ``classes`` for values to ignore,
            ``classes + 1`` for values that must not be. The last entry is for all larger values.
        classes: Number of classes.
        words: The values that may be.
    """

    table: np.ndarray
    classes: int
    words: str


class SemanticContents(Contents):
    """What the folders of a segmentation data set hold.

    Args:
        dataset: mmseg's BaseSegDataset, not initialised.
        num_classes: How many classes there are if the data set does not name them.
    """

    def __init__(self, dataset: BaseDataset, num_classes: int) -> None:
        metainfo = dataset.metainfo
        self.classes = metainfo.get("classes") or [str(i) for i in range(num_classes)]
        self.palette = colours(metainfo.get("palette"), len(self.classes))
        self._meaning = read_meaning(dataset, len(self.classes))
        entries = dataset.load_data_list()
        self.paths = [entry["img_path"] for entry in entries]
        maps = [entry.get("seg_map_path") for entry in entries]
        there = _existing_maps(dataset, maps)
        self.problems = list(_unpaired(dataset, self.paths, maps, there))
        self.items = [
            (path, label_map if label_map in there else None)
            for path, label_map in zip(self.paths, maps, strict=True)
        ]
        self.inspect = partial(inspect_labelled, self._meaning)
        self.shown = pick(len(self.paths), GRID).tolist()

    def statistics(self, found: Inspection) -> list[str]:
        """Return lines on pixels and images by class."""
        if found.pixels is None:
            return ["no label maps"]
        counts, ignored = found.pixels[:-1], found.pixels[-1]
        percent = 100 * counts / max(counts.sum(), 1)
        return [
            f"{share(ignored, found.pixels.sum())} of the pixels are ignored",
            *class_table(self.classes, {"% of pixels": percent, "images": found.images}),
        ]

    def thumbnail(self, index: int) -> Thumbnail:
        """Return an image with its label map; raises UnusableFileError if either is damaged."""
        path, label_map = self.items[index]
        image, caption = shrink(load_image(path)), osp.basename(path)
        values = load_image(label_map) if label_map else None
        if values is None or len(values.getbands()) != 1:
            return Thumbnail(image, caption)
        labels = self._meaning.table[_values(values)]
        shown = [label for label in np.unique(labels) if label < len(self.classes)]
        for label in shown:
            paint(image, labels == label, self.palette[label])
        return Thumbnail(image, caption, frozenset(shown))


def read_meaning(dataset: BaseDataset, classes: int) -> Meaning:
    """Return what the values of a data set's label maps mean, as mmseg's LoadAnnotations does."""
    renamed = dataset.label_map or {label: label for label in range(classes)}
    first = int(dataset.reduce_zero_label)  # the value of the first class
    table = np.full(VALUES + 1, classes + 1)
    for old, new in renamed.items():
        table[old + first] = new if new < classes else classes
    ignored = [0, VALUES - 1] if dataset.reduce_zero_label else [dataset.ignore_index]
    table[ignored] = classes
    words = f"{first} to {len(renamed) - 1 + first}, and {listed(ignored)} to ignore"
    return Meaning(table, classes, words)


def _existing_maps(dataset: BaseDataset, maps: Sequence[str | None]) -> set[str]:
    """Return the label maps that exist, from one listing of their folder if there is no split."""
    folder = dataset.data_prefix.get("seg_map_path")
    if folder is None:
        return set()
    if dataset.ann_file:
        return {path for path in maps if osp.isfile(path)}
    names = list_dir_or_file(folder, list_dir=False, suffix=dataset.seg_map_suffix, recursive=True)
    return {osp.join(folder, name) for name in names}


def _unpaired(
    dataset: BaseDataset, images: Sequence[str], maps: Sequence[str | None], there: set[str]
) -> Iterator[Problem]:
    for image, label_map in zip(images, maps, strict=True):
        if label_map is not None and label_map not in there:
            yield Problem("images without a label map", image, f"{label_map} does not exist")
    if not dataset.ann_file:  # which would name some images of many
        for label_map in sorted(there.difference(maps)):
            yield Problem("label maps without an image", label_map, "no image has its name")


def inspect_labelled(meaning: Meaning, item: tuple[str, str | None]) -> FileRecord:
    """Inspect an image file and its label map, if it has one."""
    path, label_map = item
    record = inspect_image(path)
    if label_map is None:
        return record
    try:
        image = load_image(label_map)
    except UnusableFileError as error:
        record.problems.append(error.problem)
        return record
    if record.size not in (image.size, (0, 0)):
        what = "is {}x{}, its image {}x{}".format(*image.size, *record.size)
        record.problems.append(Problem("label maps of another size", label_map, what))
    if 1 in image.size:
        record.problems.append(Problem(THIN, label_map, "is {}x{}".format(*image.size)))
    bands = image.getbands()
    if len(bands) != 1:
        what = f"has {len(bands)} channels ({image.mode})"
        record.problems.append(Problem("label maps that are not of one channel", label_map, what))
        return record
    counts = np.bincount(_values(image).ravel(), minlength=VALUES + 1)
    wrong = np.flatnonzero((meaning.table > meaning.classes) & (counts > 0))
    if len(wrong):
        names = [f"over {VALUES - 1}" if value == VALUES else str(value) for value in wrong]
        what = f"{listed(names)} in {counts[wrong].sum()} pixels; there may be {meaning.words}"
        record.problems.append(Problem("label maps with values out of range", label_map, what))
    pixels = np.bincount(meaning.table, counts, meaning.classes + 2).astype(np.int64)
    return record._replace(pixels=pixels[: meaning.classes + 1])


def _values(image: Image.Image) -> np.ndarray:
    """Return the values of a label map, int (H, W); ``VALUES`` for those out of 8 bits."""
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return values
    return np.where((values >= 0) & (values < VALUES), values, VALUES).astype(np.int64)
