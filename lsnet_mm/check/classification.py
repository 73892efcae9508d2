"""Checks of a data set for classification, as mmpretrain reads it."""

import os.path as osp
from collections.abc import Iterator

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file

from lsnet_mm.check.contents import Contents
from lsnet_mm.check.files import Inspection, Problem, inspect_image, load_image
from lsnet_mm.check.grid import GRID, Thumbnail, colours, pick, shrink
from lsnet_mm.check.statistics import class_table
from lsnet_mm.errors import InputError

UNLABELLED = -1


class ClassificationContents(Contents):
    """What the class folders, or the list, of a classification data set hold.

    Args:
        dataset: mmpretrain's CustomDataset, ImageNet or another, not initialised.
        num_classes: How many classes there are if neither the data set nor folders name them.
        train: Whether it is for training, where a class without images is an error.

    Raises:
        InputError: If the data set has no image files.
    """

    def __init__(self, dataset: BaseDataset, num_classes: int, train: bool) -> None:
        self.classes = dataset.metainfo.get("classes") or [str(i) for i in range(num_classes)]
        self.problems = []
        if type(dataset).load_data_list.__qualname__ != "CustomDataset.load_data_list":
            self.paths, labels = _own_way(dataset)
            self._labels = np.array(labels, np.int64)
        else:
            names, labels = (self._list if dataset.ann_file else self._folders)(dataset)
            self.paths = [osp.join(dataset.img_prefix, name) for name in names]
            self._labels = np.array(labels, np.int64)
            if dataset.with_label:
                self.problems += self._empty_classes(dataset.ann_file or dataset.img_prefix, train)
        self.problems += self._labels_out_of_range(dataset.ann_file or dataset.img_prefix)
        self.items = self.paths
        self.inspect = inspect_image
        self.palette = colours(None, len(self.classes))
        self.shown = pick(len(self.paths), GRID).tolist()

    def _list(self, dataset: BaseDataset) -> tuple[list[str], list[int]]:
        """Return file names and labels of the images that a text file lists."""
        lines = list_from_file(dataset.ann_file)
        if not dataset.with_label:
            return lines, [UNLABELLED] * len(lines)
        names, labels = [], []
        for number, line in enumerate(lines, start=1):
            name, _, label = line.strip().rpartition(" ")
            if name and label.isdecimal():
                names.append(name)
                labels.append(int(label))
            else:
                what = f"line {number}: {line!r}"
                kind = "lines that are not a file and a label"
                self.problems.append(Problem(kind, dataset.ann_file, what))
        return names, labels

    def _folders(self, dataset: BaseDataset) -> tuple[list[str], list[int]]:
        """Return file names and labels of the images in class folders."""
        # Here, as mmpretrain need not be installed where no config uses it.
        from mmpretrain.datasets.custom import find_folders, get_samples

        folder = dataset.img_prefix
        if not dataset.with_label:
            names, _ = get_samples(folder, None, dataset.is_valid_file)
            return names, [UNLABELLED] * len(names)
        folders, label_of = find_folders(folder)
        named = dataset.metainfo.get("classes") or folders
        if len(named) != len(folders):
            what = f"{len(folders)} folders for {len(named)} classes"
            kind = "class folders of another number than the classes"
            self.problems.append(Problem(kind, folder, what))
        elif set(named) == set(folders) and list(named) != folders:
            order = next(pair for pair in zip(folders, named, strict=True) if pair[0] != pair[1])
            what = "{} stands where the config has {}: labels would be wrong".format(*order)
            kind = "class folders in another order than the classes"
            self.problems.append(Problem(kind, folder, what))
        else:  # there is no telling which of the folders is too many
            self.folders = [osp.join(folder, name) for name in folders]
        self.classes = named if len(named) == len(folders) else folders
        samples, _ = get_samples(folder, label_of, dataset.is_valid_file)
        return [name for name, _ in samples], [label for _, label in samples]

    def _empty_classes(self, source: str, train: bool) -> Iterator[Problem]:
        kind = "classes without images"
        empty = np.flatnonzero(self._images_by_class() == 0)
        if len(empty) > len(self.classes) / 2:  # no damage, but a small set in a large one's place
            yield Problem(kind, source, f"{len(empty)} of {len(self.classes)}", warning=True)
            return
        for label in empty:
            what = f"{self.classes[label]} (label {label})"
            yield Problem(kind, source, what, warning=not train)

    def _labels_out_of_range(self, source: str) -> Iterator[Problem]:
        for i in np.flatnonzero(self._labels >= len(self.classes)):
            what = f"{self._labels[i]} of {self.paths[i]}; there are {len(self.classes)} classes"
            yield Problem("labels out of range", source, what)

    def _images_by_class(self) -> np.ndarray:
        count = len(self.classes)
        usable = (self._labels >= 0) & (self._labels < count)
        return np.bincount(self._labels[usable], minlength=count)

    def statistics(self, found: Inspection) -> list[str]:
        """Return lines on images by class."""
        if (self._labels == UNLABELLED).all():
            return ["no labels"]
        return class_table(self.classes, {"images": self._images_by_class()})

    def thumbnail(self, index: int) -> Thumbnail:
        """Return an image with its class's name; raises UnusableFileError if it is damaged."""
        label = self._labels[index]
        caption = self.classes[label] if 0 <= label < len(self.classes) else f"label {label}"
        return Thumbnail(shrink(load_image(self.paths[index])), caption)


def _own_way(dataset: BaseDataset) -> tuple[list[str], list[int]]:
    """Return paths and labels of the images of a data set that finds them in a way of its own.

    Raises:
        InputError: If it cannot be read, or its images are no files.
    """
    name = type(dataset).__name__
    try:
        dataset.full_init()
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name} cannot read {dataset.ann_file}: {error}") from error
    paths, labels = [], []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        if "img_path" not in info:
            raise InputError(f"{name} has no image files: it cannot be checked")
        label = info.get("gt_label")
        paths.append(info["img_path"])
        labels.append(label if isinstance(label, int) else UNLABELLED)
    return paths, labels
