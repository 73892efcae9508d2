"""A user's data set in COCO's format."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from lsnet_mm.check.coco_file import NO_EXTENT, CocoFile, read_annotations, read_json
from lsnet_mm.check.files import Problem
from lsnet_mm.check.grid import pick
from lsnet_mm.check.report import problem_lines
from lsnet_mm.check.statistics import class_table, image_lines, listed, object_sizes, share
from lsnet_mm.errors import InputError

from .layout import OwnData, folders, from_root, given, only, refuse, tells

LOOKED_FOR = 20  # images of a file that tell the folder they are in

# mmdet clips or drops these on loading: no reason not to write a config.
HARMLESS = ("boxes outside the image", "boxes of negative size", NO_EXTENT)

# The configs drop smaller images, and resize those they train on to this short and long side.
MIN_SIDE, SHORT, LONG = 32, 800, 1333
TINY = 16  # pixels after that: half the side of the smallest anchor
MANY = 0.05  # share of objects that are tiny


def read(args: argparse.Namespace) -> OwnData:
    """Read the annotations that ``tools/new_config.py``'s arguments name, or the folder's.

    Raises:
        InputError: If there are none, several, or if they cannot be trained on.
    """
    root, masks = args.data, args.task == "instance"
    path = annotation_file(root, "train", args.train_ann)
    if path is None:
        raise InputError(
            f"{root} has no COCO annotation file for training, such as annotations/*train*.json or "
            "train/_annotations.coco.json: name it with --train-ann"
        )
    classes = class_names(path)
    train = _read_sound(path, classes, masks)
    if not train.annotations:
        raise InputError(f"{path} has no objects to train on")
    data = OwnData(classes, _trained_on(train))
    data.train = _settings(root, path, image_folder(root, path, train, "train", args.train_img))
    data.summary += _describe("train", path, train, classes)
    data.warnings += _warnings(root, data.train, train, classes)
    path = annotation_file(root, "val", args.val_ann)
    if path is not None:
        val = _read_sound(path, classes, masks)
        data.val = _settings(root, path, image_folder(root, path, val, "val", args.val_img))
        data.ann_file = data.val["ann_file"]
        data.summary += _describe("val", path, val, classes)
        data.warnings += _warnings(root, data.val, val, None)
    return data


def annotation_file(root: Path, split: str, named: Path | None) -> Path | None:
    """Return the annotation file of a split, or None if nothing in the folder looks like one."""
    option = f"--{split}-ann"
    if named is not None:
        return given(named, root, option)
    found = [
        path
        for pattern in ("*.json", "*/*.json")
        for path in sorted(root.glob(pattern))
        if tells(path, root, split)
    ]
    # COCO's own folder has captions and keypoints beside them.
    found = [path for path in found if path.name.startswith("instances")] or found
    return only(found, f"annotation files for {split}", option) if found else None


def class_names(path: Path) -> list[str]:
    """Return the names of an annotation file's categories, in its order, which mmdet keeps.

    Roboflow puts one over all others, which no object is of: it is left out.

    Raises:
        InputError: If the file is damaged, or a category lacks what it takes.
    """
    content, problems = read_json(str(path))
    refuse(problems)
    categories = content["categories"]
    for entry in categories:
        if not isinstance(entry, dict) or entry.get("id") is None:
            raise InputError(f"{path}: category {entry} has no id")
        if not isinstance(entry.get("name"), str) or not entry["name"]:
            raise InputError(f"{path}: category {entry} has no name")
    shared = [name for name, n in Counter(e["name"] for e in categories).items() if n > 1]
    if shared:
        raise InputError(f"{path}: categories that share a name: {listed(shared)}")
    used = {entry.get("category_id") for entry in content["annotations"] if isinstance(entry, dict)}
    parents = {entry.get("supercategory") for entry in categories}
    classes = [e["name"] for e in categories if e["id"] in used or e["name"] not in parents]
    if not classes:
        raise InputError(f"{path} has no categories")
    return classes


def _read_sound(path: Path, classes: list[str], masks: bool) -> CocoFile:
    file = read_annotations(str(path), classes, masks)
    refuse([problem for problem in file.problems if problem.kind not in HARMLESS])
    return file


def _settings(root: Path, path: Path, folder: Path) -> dict:
    prefix = from_root(folder, root)
    return {
        "ann_file": from_root(path, root),
        "data_prefix": {"img": "" if prefix == "." else prefix + "/"},
    }


def image_folder(root: Path, path: Path, file: CocoFile, split: str, named: Path | None) -> Path:
    """Return the folder that an annotation file's images are in.

    Raises:
        InputError: If no folder, or several, have images of those names.
    """
    option = f"--{split}-img"
    sought = [file.names[i] for i in pick(len(file.names), LOOKED_FOR)]
    candidates = [given(named, root, option)] if named else [path.parent, *folders(root)]
    held = {folder: sum((folder / name).is_file() for name in sought) for folder in candidates}
    most = max(held.values())
    if not most:
        where = named or root
        raise InputError(
            f"{where} has no folder with the images of {path}, such as {listed(sought, 2)}: name "
            f"it with {option}"
        )
    best = [folder for folder in held if held[folder] == most]
    if path.parent in best:
        return path.parent
    told = [folder for folder in best if tells(folder, root, split)]
    return only(told or best, f"folders with the images of {path}", option)


def _trained_on(file: CocoFile) -> int:
    """Return how many images are left after the configs' ``filter_cfg``."""
    return sum(min(file.sizes[i]) >= MIN_SIDE for i in np.unique(file.owners))


def _describe(split: str, path: Path, file: CocoFile, classes: list[str]) -> list[str]:
    areas = np.array([entry["area"] for entry in file.annotations])
    pairs = np.unique(file.owners * len(classes) + file.labels) % len(classes)
    columns = {
        "objects": np.bincount(file.labels, minlength=len(classes)),
        "images": np.bincount(pairs, minlength=len(classes)),
    }
    return [
        f"{split}: {path}",
        *(f"  {line}" for line in image_lines(np.array(file.sizes), len(file.sizes))),
        f"  {len(areas)} objects in {len(np.unique(file.owners))} of the images",
        f"  {object_sizes(areas)}",
        *(f"  {line}" for line in class_table(classes, columns)),
    ]


def _warnings(root: Path, settings: dict, file: CocoFile, classes: list[str] | None) -> list[str]:
    """Return warnings; of classes without objects only if ``classes`` are given."""
    folder = root / settings["data_prefix"]["img"]
    kind = "files that are missing"
    missing = [
        Problem(kind, str(folder / name), "does not exist", warning=True)
        for name in file.names
        if not (folder / name).is_file()
    ]
    slips = [problem._replace(warning=True) for problem in file.problems]
    lines = problem_lines([*slips, *missing])
    if classes is None:
        return lines
    absent = [name for label, name in enumerate(classes) if label not in file.labels]
    if absent:
        lines.append(f"warning: classes without objects, which cannot be learnt: {listed(absent)}")
    boxes = np.array([entry["bbox"][2:] for entry in file.annotations], float)
    sizes = np.sort(np.array(file.sizes)[file.owners], axis=1)
    scales = np.minimum(SHORT / sizes[:, 0], LONG / sizes[:, 1])
    tiny = (boxes.min(1) * scales < TINY).sum()
    if tiny > MANY * len(boxes):
        lines.append(
            f"warning: {share(tiny, len(boxes))} of the objects are tiny: under {TINY} pixels wide "
            f"or high in images resized to {LONG}x{SHORT}. Train on larger ones, or on tiles"
        )
    return lines
