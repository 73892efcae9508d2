"""A user's images in a folder for each class."""

import argparse
import os
from pathlib import Path

from mmengine.registry import init_default_scope

from lsnet_mm.check.classification import ClassificationContents
from lsnet_mm.check.files import inspect_files
from lsnet_mm.check.grid import pick
from lsnet_mm.check.report import problem_lines
from lsnet_mm.check.statistics import image_lines, listed
from lsnet_mm.errors import InputError

from .layout import SPLITS, OwnData, from_root, given, refuse

LOOKED_AT = 500  # images of each split that are opened, for their sizes


def read(args: argparse.Namespace) -> OwnData:
    """Read the class folders that ``tools/new_config.py``'s arguments name, or the data's own.

    Raises:
        InputError: If there are none, or if they cannot be trained on.
    """
    if args.train_ann or args.val_ann:
        raise InputError("--train-ann, --val-ann: a class folder's name is its images' label")
    root = args.data
    train_folder = _folder(root, "train", args.train_img)
    val_folder = _folder(root, "val", args.val_img)
    if train_folder is None:
        raise InputError(
            f"{root} has no folder for training, as {root}/train/CLASS/*.jpg: name it with "
            "--train-img"
        )
    if val_folder is None:
        raise InputError(
            f"{root} has no folder for validation, as {root}/val/CLASS/*.jpg. Move some images of "
            f"each class there, one in ten perhaps, or name a folder with --val-img"
        )
    train, val = _contents(train_folder, train=True), _contents(val_folder, train=False)
    classes = list(train.classes)
    if odd := sorted(set(classes).symmetric_difference(val.classes)):
        raise InputError(
            f"{train_folder} and {val_folder} must have the same class folders, as mmpretrain "
            f"numbers those it finds; only one of them has {listed(odd)}. An empty one will do for "
            "validation"
        )
    if len(train.paths) < 2:
        raise InputError(f"{train_folder} has one image: training takes 2 or more")
    data = OwnData(classes, len(train.paths))
    data.train = {"data_prefix": from_root(train_folder, root)}
    data.val = {"data_prefix": from_root(val_folder, root)}
    for split, folder, contents in (("train", train_folder, train), ("val", val_folder, val)):
        shown = [contents.paths[i] for i in pick(len(contents.paths), LOOKED_AT)]
        found = inspect_files(contents.inspect, shown, os.cpu_count(), split)
        refuse(found.problems)
        lines = [*image_lines(found.sizes, len(contents.paths)), *contents.statistics(found)]
        data.summary += [f"{split}: {folder}", *(f"  {line}" for line in lines)]
        data.warnings += problem_lines(contents.problems)
    return data


def _folder(root: Path, split: str, named: Path | None) -> Path | None:
    if named is not None:
        return given(named, root, f"--{split}-img")
    return next((root / name for name in SPLITS[split] if (root / name).is_dir()), None)


def _contents(folder: Path, train: bool) -> ClassificationContents:
    """Return what class folders hold.

    Raises:
        InputError: If there are none, or if a class has no images to train on.
    """
    from mmpretrain.datasets import CustomDataset

    init_default_scope("mmpretrain")
    if not any(path.is_dir() for path in folder.iterdir()):
        raise InputError(f"{folder} has no class folders, as {folder}/CLASS/*.jpg")
    dataset = CustomDataset(data_prefix=str(folder), lazy_init=True)
    contents = ClassificationContents(dataset, 0, train)
    refuse(contents.problems)
    return contents
