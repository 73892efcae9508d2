"""Checks of a data set in COCO's format: boxes and masks."""

import os.path as osp

import numpy as np
from mmengine.dataset import BaseDataset
from pycocotools import mask as coco_mask

from lsnet_mm.check.coco_file import CocoFile, read_annotations
from lsnet_mm.check.contents import Contents
from lsnet_mm.check.files import FileRecord, Inspection, Problem, inspect_image, load_image
from lsnet_mm.check.grid import GRID, Thumbnail, colours, frame, paint, pick, shrink
from lsnet_mm.check.statistics import class_table, object_sizes, share
from lsnet_mm.errors import InputError


class CocoContents(Contents):
    """What a COCO annotation file holds.

    Args:
        dataset: mmdet's CocoDataset, not initialised.
        masks: Whether the config reads masks, so that every object must have one.

    Raises:
        InputError: If the data set loads its annotations in a way of its own.
    """

    def __init__(self, dataset: BaseDataset, masks: bool) -> None:
        kind = type(dataset)
        readers = (kind.load_data_list, kind.parse_data_info)
        if any(not reader.__qualname__.startswith("CocoDataset.") for reader in readers):
            raise InputError(f"{kind.__name__} reads no plain COCO files: it cannot be checked")
        metainfo = dataset.metainfo
        self.classes = metainfo["classes"]
        self.palette = colours(metainfo.get("palette"), len(self.classes))
        file = read_annotations(dataset.ann_file, self.classes, masks)
        self.problems = file.problems
        self.paths = [osp.join(dataset.data_prefix["img"], name) for name in file.names]
        self.items = list(zip(self.paths, file.sizes, strict=True))
        self.inspect = inspect_sized
        crowds = np.array([bool(entry.get("iscrowd")) for entry in file.annotations], bool)
        self._crowds = crowds.sum()
        self._annotated = np.unique(file.owners)
        self._owners, self._labels = file.owners[~crowds], file.labels[~crowds]
        self._areas = np.array([entry["area"] for entry in file.annotations])[~crowds]
        self.shown = self._annotated[pick(len(self._annotated), GRID)].tolist()
        self._drawn = self._annotations_of(file, self.shown)

    @staticmethod
    def _annotations_of(file: CocoFile, images: list[int]) -> dict[int, list[tuple[int, dict]]]:
        """Return label and entry of the annotations of a few images."""
        chosen = {image: [] for image in images}
        for i in np.flatnonzero(np.isin(file.owners, images)):
            chosen[file.owners[i]].append((file.labels[i], file.annotations[i]))
        return chosen

    def statistics(self, found: Inspection) -> list[str]:
        """Return lines on objects: how many, how large, and of which classes."""
        images, classes = max(len(self.paths), 1), len(self.classes)
        empty = len(self.paths) - len(self._annotated)
        count, most = len(self._owners), np.bincount(self._owners, minlength=1).max()
        pairs = np.unique(self._owners * classes + self._labels)
        return [
            f"{empty} images without annotations ({share(empty, images)})",
            f"{count} objects, {count / images:.1f} per image, at most {most}; "
            f"{self._crowds} crowds besides",
            object_sizes(self._areas),
            *class_table(
                self.classes,
                {
                    "objects": np.bincount(self._labels, minlength=classes),
                    "images": np.bincount(pairs % classes, minlength=classes),
                },
            ),
        ]

    def thumbnail(self, index: int) -> Thumbnail:
        """Return an image with its boxes and masks; raises UnusableFileError if it is damaged."""
        path, (width, height) = self.items[index]
        image = load_image(path)
        as_annotated = sorted(image.size) == sorted((width, height))
        image = shrink(image)
        across, down = image.width / width, image.height / height
        for label, entry in self._drawn[index]:
            if entry.get("segmentation") and as_annotated:
                mask = decode_mask(entry["segmentation"], width, height)
                paint(image, mask, self.palette[label])
        for label, entry in self._drawn[index]:
            x, y, w, h = entry["bbox"]
            box = (x * across, y * down, (x + w) * across, (y + h) * down)
            frame(image, box, self.classes[label], self.palette[label])
        labels = frozenset(label for label, _ in self._drawn[index])
        return Thumbnail(image, osp.basename(path), labels)


def inspect_sized(item: tuple[str, tuple[int, int]]) -> FileRecord:
    """Inspect an image file, given with the width and height that it should have."""
    path, size = item
    record = inspect_image(path)
    if record.size not in (size, (0, 0)):
        what = "is {}x{}, not {}x{}".format(*record.size, *size)
        record.problems.append(Problem("images of another size than annotated", path, what))
    return record


def decode_mask(segmentation: list | dict, width: int, height: int) -> np.ndarray:
    """Return the mask of polygons or of an RLE, bool (H, W); all must be sound."""
    if isinstance(segmentation, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco_mask.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return coco_mask.decode(runs).astype(bool)
