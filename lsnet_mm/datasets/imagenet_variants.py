"""ImageNet's robustness sets -A, -R, -Sketch and -C: test images in folders named by synsets."""

import logging
import os
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, ClassVar

from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset, ImageNet
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from timm.data import ImageNetInfo

from lsnet_mm.errors import InputError
from lsnet_mm.evaluation.robustness import ALEXNET_ERRORS, SEVERITIES

SUBSETS = ("a", "r")
MAX_PROBLEMS = 5  # that an error names


class ImageNetVariant(BaseDataset):
    """Test images in a folder per class: ``{data_root}/{folder}/*.JPEG``.

    Of each image only the path below ``data_root`` is kept. ``metainfo['subset']`` lists the labels
    of the classes in the set, for :class:`~lsnet_mm.evaluation.SubsetAccuracy`.

    Args:
        subset: Folders in the set, if not those of all classes: their names, or ``'a'`` or ``'r'``
            for the 200 synsets of ImageNet-A or -R.
        lazy_init: Do not look for the images yet.
        **others: See mmpretrain's ``BaseDataset``. Folders are named by ImageNet-1k's synsets, or
            by ``metainfo.classes`` if that is set; labels are the places in their list.

    Raises:
        InputError: If ``subset`` names other folders than those of classes, the folders are not as
            described (missing, empty, too many), or ``metainfo.classes`` is not alphabetical:
            that is how mmpretrain numbers the folders that it trains on.
    """

    METAINFO: ClassVar[dict[str, Any]] = dict(classes=IMAGENET_CATEGORIES)
    groups: Sequence[str] = ("",)  # folders below data_root that hold class folders

    def __init__(
        self, subset: str | Sequence[str] | None = None, lazy_init: bool = False, **others: Any
    ) -> None:
        super().__init__(ann_file="", lazy_init=True, **others)
        folders = list(self.CLASSES)
        if tuple(folders) == IMAGENET_CATEGORIES:
            folders = ImageNetInfo("imagenet-1k").label_names()
        elif folders != sorted(folders):
            raise InputError(
                "metainfo.classes must be in alphabetical order, as mmpretrain numbers folders, "
                f"got {folders}"
            )
        self._labels = {folder: label for label, folder in enumerate(folders)}
        self._folders = _subset(subset, self._labels)
        self._metainfo["subset"] = sorted(self._labels[folder] for folder in self._folders)
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict[str, str]]:
        """Find all images; raises :class:`~lsnet_mm.errors.InputError`."""
        images: list[dict[str, str]] = []
        problems = []
        for group in self.groups:
            found, problem = self._scan(group)
            images += [dict(img_path=path) for path in found]
            problems += [f"{osp.join(self.img_prefix, group)}: {problem}"] if problem else []
        if problems:
            more = len(problems) - MAX_PROBLEMS
            raise InputError(
                "\n  ".join(["not the data set of the config:", *problems[:MAX_PROBLEMS]])
                + (f"\n  and {more} more such places" if more > 0 else "")
                + "\nFolders are named by ImageNet-1k's synsets, or by metainfo.classes if set "
                "(layouts in docs/datasets.md)"
            )
        return images

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Path and label of an image."""
        info = super().get_data_info(idx)
        folder = info["img_path"].split("/")[-2]
        path = osp.join(self.img_prefix, info["img_path"])
        return {**info, "img_path": path, "gt_label": self._labels[folder]}

    def _scan(self, group: str) -> tuple[list[str], str]:
        """Paths of a group's images, and what is wrong with its folders, if anything."""
        root = osp.join(self.img_prefix, group)
        if not osp.isdir(root):
            return [], "no such folder"
        found = self._found_folders(group)
        images = {folder: _images(osp.join(root, folder)) for folder in found & self._folders}
        problems = {
            "class folders missing": self._folders - found,
            "folders of no class in the set": found - self._folders,
            "class folders without images": {folder for folder in images if not images[folder]},
        }
        paths = [
            osp.join(group, folder, name) for folder in sorted(images) for name in images[folder]
        ]
        return paths, _first_of_each(problems)

    def _found_folders(self, group: str) -> set[str]:
        entries = os.scandir(osp.join(self.img_prefix, group))
        return {entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."}


class ImageNetC(ImageNetVariant):
    """Test images in a folder per corruption, severity and class, as in ImageNet-C.

    ``{data_root}/{corruption}/{severity}/{folder}/*.JPEG``; each sample has its ``corruption`` and
    ``severity`` beside path and label. The class folders must be the same throughout; if they are
    not those of all classes, a warning says so.

    Args:
        corruptions: To test; all 15 of the benchmark by default.
        severities: To test, of 1 to 5; all by default.
        **others: See :class:`ImageNetVariant`.

    Raises:
        InputError: If there are no such corruptions or severities, in the benchmark or in
            ``data_root``, or the class folders in them are not as :class:`ImageNetVariant` says.
    """

    def __init__(
        self,
        corruptions: str | Sequence[str] = tuple(ALEXNET_ERRORS),
        severities: int | Sequence[int] = SEVERITIES,
        **others: Any,
    ) -> None:
        corruptions = [corruptions] if isinstance(corruptions, str) else list(corruptions)
        severities = [severities] if isinstance(severities, int) else list(severities)
        _check_choice("corruptions", corruptions, ALEXNET_ERRORS)
        _check_choice("severities", severities, SEVERITIES)
        self.groups = [f"{name}/{severity}" for name in corruptions for severity in severities]
        super().__init__(**others)

    def load_data_list(self) -> list[dict[str, str]]:
        """Find all images; raises :class:`~lsnet_mm.errors.InputError`."""
        missing = [self._missing(group) for group in self.groups]
        if any(missing):
            raise InputError(
                f"{self.img_prefix} lacks {', '.join(dict.fromkeys(filter(None, missing)))}"
                "\nTo test only what there is, name it, e.g. "
                "test_dataloader.dataset.corruptions=[fog,snow] "
                "test_dataloader.dataset.severities=[1,3,5]"
            )
        found = self._folders & set().union(*map(self._found_folders, self.groups))
        if found and found != self._folders:
            print_log(
                f"{self.img_prefix} has {len(found)} of {len(self._folders)} classes: results are "
                "not comparable with published numbers",
                "current",
                logging.WARNING,
            )
            self._folders = found
        return super().load_data_list()

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Path, label, corruption and severity of an image."""
        info = super().get_data_info(idx)
        corruption, severity = info["img_path"].split("/")[-4:-2]
        return {**info, "corruption": corruption, "severity": int(severity)}

    def _missing(self, group: str) -> str:
        """The folder that a group lacks, its corruption's or its own, or nothing."""
        folders = (osp.dirname(group), group)
        return next((f for f in folders if not osp.isdir(osp.join(self.img_prefix, f))), "")


def _subset(subset: str | Sequence[str] | None, folders: Iterable[str]) -> set[str]:
    """Folders of a subset; see :class:`ImageNetVariant`."""
    if subset is None:
        return set(folders)
    if isinstance(subset, str):
        if subset not in SUBSETS:
            raise InputError(f"subset must be 'a', 'r' or a list of folders, got {subset!r}")
        names = files("timm").joinpath(f"data/_info/imagenet_{subset}_synsets.txt").read_text()
        subset = names.split()
    problem = _first_of_each({"folders of no class": set(subset) - set(folders)})
    if problem:
        raise InputError(f"subset: {problem}")
    return set(subset)


def _images(folder: str) -> list[str]:
    names = (name for name in os.listdir(folder) if not name.startswith("."))
    return sorted(name for name in names if name.lower().endswith(ImageNet.IMG_EXTENSIONS))


def _first_of_each(problems: Mapping[str, set[str]]) -> str:
    found = [f"{len(v)} {k} (first: {min(v)})" for k, v in problems.items() if v]
    return "; ".join(found)


def _check_choice(name: str, given: Sequence[Any], choices: Iterable[Any]) -> None:
    choices = list(choices)
    if not given or any(given.count(value) > 1 or value not in choices for value in given):
        raise InputError(f"{name} must be some of {', '.join(map(str, choices))}, got {given}")
