"""A user's images with label maps, as ADE20K's."""

import argparse
import os
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from lsnet_mm.check.files import Inspection, inspect_files
from lsnet_mm.check.semantic import VALUES, Meaning, inspect_labelled
from lsnet_mm.check.statistics import class_table, image_lines, listed, share
from lsnet_mm.errors import InputError

from .layout import SPLITS, OwnData, from_root, given, refuse

IMAGES = ("images", "img_dir", "image", "imgs")
LABEL_MAPS = ("annotations", "ann_dir", "masks", "labels", "label_maps")
NAMES = ("classes.txt", "objectInfo150.txt", "objectInfo.txt")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
IGNORED = VALUES - 1

# Every value is looked for; one that 8 bits do not hold is none.
ANY_VALUE = Meaning(np.append(np.arange(VALUES), VALUES + 1), VALUES, "values of 8 bits")


def read(args: argparse.Namespace) -> OwnData:
    """Read the images and label maps that ``tools/new_config.py``'s arguments name, or the data's.

    Raises:
        InputError: If there are none, or if they cannot be trained on.
    """
    root = args.data
    train = _folders(root, "train", args.train_img, args.train_ann)
    if train is None:
        raise InputError(
            f"{root} has no images and label maps for training, as {root}/images/training and "
            f"{root}/annotations/training: name them with --train-img and --train-ann"
        )
    val = _folders(root, "val", args.val_img, args.val_ann)
    suffixes = _suffixes(*train)
    found = {"train": _inspect("train", train, suffixes)}
    if val is not None:
        found["val"] = _inspect("val", val, suffixes)
    classes = class_names(args.classes, root, found)
    zero_is_ignored = _zero_is_ignored(args.zero, classes, found)
    data = OwnData(classes, len(found["train"].sizes))
    data.common = {
        "img_suffix": suffixes[0],
        "seg_map_suffix": suffixes[1],
        "reduce_zero_label": zero_is_ignored,
    }
    data.train = _prefixes(root, *train)
    data.val = _prefixes(root, *val) if val else None
    data.summary.append(
        "label 0 is ignored, 1 is the first class"
        if zero_is_ignored
        else f"label 0 is the first class, {classes[0]}"
    )
    for split, inspection in found.items():
        counts = _by_class(inspection.pixels, classes, zero_is_ignored)
        images = _by_class(inspection.images, classes, zero_is_ignored)
        data.summary += _describe(split, (train if split == "train" else val)[0], inspection)
        columns = {"% of pixels": 100 * counts / max(counts.sum(), 1), "images": images}
        data.summary += [f"  {line}" for line in class_table(classes, columns)]
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        if absent and split == "train":
            data.warnings.append(
                f"warning: classes without a pixel, which cannot be learnt: {listed(absent)}"
            )
    return data


def _folders(
    root: Path, split: str, images: Path | None, label_maps: Path | None
) -> tuple[Path, Path] | None:
    """Return a split's folders of images and of label maps, or None if it has none."""
    found = [
        given(images, root, f"--{split}-img") or _folder(root, IMAGES, split),
        given(label_maps, root, f"--{split}-ann") or _folder(root, LABEL_MAPS, split),
    ]
    if not any(found):
        return None
    if not all(found):
        there, lacking = ("images", "ann") if found[0] else ("label maps", "img")
        raise InputError(
            f"{found[0] or found[1]} has {there}, but where are the "
            f"{'label maps' if lacking == 'ann' else 'images'}? Name them with --{split}-{lacking}"
        )
    return found[0], found[1]


def _folder(root: Path, kinds: tuple[str, ...], split: str) -> Path | None:
    """Return images/training, training/images or the like."""
    pairs = [(kind, name) for kind in kinds for name in SPLITS[split]]
    candidates = [root / a / b for pair in pairs for a, b in (pair, pair[::-1])]
    return next((folder for folder in candidates if folder.is_dir()), None)


def _suffixes(images: Path, label_maps: Path) -> tuple[str, str]:
    """Return the ends of the names of images and of label maps, of which mmseg takes one each.

    Raises:
        InputError: If there are several, or no images, or if the first has no label map.
    """
    names = _names(images)
    counts = Counter(Path(name).suffix for name in names)
    if len(counts) != 1:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
        raise InputError(f"{images} must hold images of one suffix, and has {kinds or 'no images'}")
    (suffix,) = counts
    stem = min(names).removesuffix(suffix)
    fitting = [name for name in _names(label_maps) if name.startswith(stem)]
    if not fitting:
        raise InputError(f"{label_maps} has no label map of {images / min(names)}")
    return suffix, min(fitting, key=len).removeprefix(stem)


def _names(folder: Path) -> list[str]:
    """Return the image files in a folder and those in it, from there."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [str(path.relative_to(folder)) for path in files]


def _inspect(split: str, where: tuple[Path, Path], suffixes: tuple[str, str]) -> Inspection:
    """Return what the images and label maps of a split hold: of each value, how many pixels.

    Raises:
        InputError: If an image has no label map, or if either cannot be used.
    """
    images, label_maps = where
    names = [name for name in sorted(_names(images)) if name.endswith(suffixes[0])]
    pairs = [
        (str(images / name), str(label_maps / (name.removesuffix(suffixes[0]) + suffixes[1])))
        for name in names
    ]
    if not pairs:
        raise InputError(f"{images} has no images that end in {suffixes[0]}, as those for training")
    found = inspect_files(partial(inspect_labelled, ANY_VALUE), pairs, os.cpu_count(), split)
    refuse(found.problems)
    return found


def class_names(named: str | None, root: Path, found: dict[str, Inspection]) -> list[str]:
    """Return the names that ``--classes`` gives, or a list in the folder of the data.

    Args:
        named: A file of a name on each line, ADE20K's list, or names with commas between.
        root: Folder of the data.
        found: What the label maps hold.

    Raises:
        InputError: If there are none, or if they cannot be those of the label maps.
    """
    lists = [root / name for name in NAMES if (root / name).is_file()]
    if named is None and not lists:
        raise InputError(
            f"the label maps have the values {_words(found)}, but what are they called? Give "
            "--classes a,b,c in the order of the values, or a file with a name on each line"
        )
    if named is not None and not Path(named).is_file():
        if Path(named).suffix == ".txt":
            raise InputError(f"--classes: no such file: {named}")
        names = [name.strip() for name in named.split(",")]
    else:
        names = _listed_names(Path(named) if named else lists[0])
    if len(set(names)) < len(names) or not all(names):
        raise InputError(f"class names must differ and not be empty, got {', '.join(names)}")
    return names


def _listed_names(path: Path) -> list[str]:
    """Return the names in a text file: those of lines, or of the column Name as in ADE20K's."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if lines and lines[0].split("\t")[-1].strip() == "Name":
        return [line.split("\t")[-1].partition(",")[0].partition(";")[0].strip() for line in lines][
            1:
        ]
    return [line.strip() for line in lines]


def _zero_is_ignored(option: str | None, classes: list[str], found: dict[str, Inspection]) -> bool:
    """Tell whether the first class has the value 1 and not 0.

    Args:
        option: ``'ignored'`` or ``'class'``, or None to tell from the values.
        classes: Their names.
        found: What the label maps hold.

    Raises:
        InputError: If there are more values than classes, or if it cannot be told.
    """
    values, count = _values(found), len(classes)
    largest = max(values, default=0)
    ignored = largest == count if option is None else option == "ignored"
    if largest > (count if ignored else count - 1):
        raise InputError(
            f"the label maps have the values {_words(found)}, too many for {count} classes"
            + (" of which the first is 0" if option == "class" else "")
            + f" ({listed(classes)}); pixels to ignore have the value {IGNORED}"
        )
    if option is None and not ignored and 0 not in values:
        raise InputError(
            f"the label maps have the values {_words(found)}: is the first of {count} classes "
            f"({listed(classes)}) 0 or 1? Give --zero class or --zero ignored"
        )
    if count == 1:
        raise InputError(
            f"{classes[0]} is the only class: name the rest too, as --classes background,"
            f"{classes[0]} with the value 0 for background"
        )
    return ignored


def _values(found: dict[str, Inspection]) -> list[int]:
    """Return the values that label maps have, but for the one to ignore."""
    pixels = sum(inspection.pixels[:VALUES] for inspection in found.values())
    return [value for value in np.flatnonzero(pixels).tolist() if value != IGNORED]


def _words(found: dict[str, Inspection]) -> str:
    return listed(_values(found), most=20)


def _by_class(values: np.ndarray, classes: list[str], zero_is_ignored: bool) -> np.ndarray:
    first = int(zero_is_ignored)
    return values[first : first + len(classes)]


def _prefixes(root: Path, images: Path, label_maps: Path) -> dict:
    return {
        "data_prefix": {
            "img_path": from_root(images, root),
            "seg_map_path": from_root(label_maps, root),
        }
    }


def _describe(split: str, images: Path, found: Inspection) -> list[str]:
    ignored = found.pixels[IGNORED]
    return [
        f"{split}: {images}",
        *(f"  {line}" for line in image_lines(found.sizes, len(found.sizes))),
        f"  {share(ignored, found.pixels.sum())} of the pixels have the value {IGNORED}, ignored",
    ]
