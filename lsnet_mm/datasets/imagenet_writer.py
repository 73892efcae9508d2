"""Write Shapes scenes of one object each as data sets in the layouts of ImageNet and ImageNet-C."""

from functools import partial
from pathlib import Path

import numpy as np

from lsnet_mm.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lsnet_mm.datasets.folders import Layout, claim, for_each_scene, write_image
from lsnet_mm.datasets.shapes import CLASSES, SPLITS, make_object_scene

IMAGENET_SYNSETS = {
    "ellipse": "n04118538",  # rugby ball
    "triangle": "n03929660",  # pick, plectrum
    "rectangle": "n03291819",  # envelope
    "star": "n02317335",  # starfish
    "cross": "n02690373",  # airliner
    "ring": "n07693725",  # bagel
    "crescent": "n07753592",  # banana
}
"""The synset that stands for each shape class where those of ImageNet-1k are wanted."""


def write_imagenet(
    out_dir: Path,
    counts: dict[str, int],
    size: tuple[int, int],
    seed: int,
    imagenet_classes: bool = False,
) -> None:
    """Write Shapes scenes of one object each in ImageNet's layout.

    Writes ``{train,val}/CLASS/CLASS_*.jpg``, where classes take turns. Equal arguments give equal
    files. A progress bar shows on a terminal.

    Args:
        out_dir: Made if missing. An earlier run's files in it are replaced, all of them.
        counts: Number of scenes of each of ``SPLITS``.
        size: Width and height of the images in pixels, each at least ``MIN_SIDE``.
        seed: As for ``make_object_scene``.
        imagenet_classes: Make a folder for each of ImageNet-1k's 1000 synsets, so that classes have
            its labels, and fill those of ``IMAGENET_SYNSETS``. Otherwise classes are ``CLASSES``.

    Raises:
        OutputFolderError: As ``claim``.
        OSError: If a file cannot be written; ``filename`` names it, and no part of it is left.
        ValueError: As ``make_object_scene``.
    """
    settings = {"format": "imagenet", "counts": counts, "size": size, "seed": seed}
    claim(out_dir, _layout, {**settings, "imagenet_classes": imagenet_classes})
    for split in SPLITS:
        work = partial(_write_clean, out_dir, split, size, seed, imagenet_classes)
        for_each_scene(work, counts[split], split)


def write_imagenet_c(
    out_dir: Path, count: int, size: tuple[int, int], seed: int, imagenet_classes: bool = False
) -> None:
    """Write ``write_imagenet``'s validation images, corrupted, in ImageNet-C's layout.

    Writes ``{corruption}/{severity}/CLASS/CLASS_*.jpg`` for all ``CORRUPTIONS`` and ``SEVERITIES``.

    Args:
        out_dir: As for ``write_imagenet``.
        count: Number of scenes, each of which is written in every way.
        size: As for ``write_imagenet``.
        seed: As for ``write_imagenet``.
        imagenet_classes: Name the folders after the synsets of ``IMAGENET_SYNSETS``.

    Raises:
        OutputFolderError, OSError, ValueError: As ``write_imagenet``.
    """
    settings = {"format": "imagenet-c", "count": count, "size": size, "seed": seed}
    claim(out_dir, _layout_c, {**settings, "imagenet_classes": imagenet_classes})
    work = partial(_write_corrupted, out_dir, size, seed, imagenet_classes)
    for_each_scene(work, count, "val")


def imagenet_synsets() -> list[str]:
    """Return ImageNet-1k's 1000 synsets, like n01440764, in its order."""
    from timm.data import ImageNetInfo  # not at the top: it takes seconds

    return ImageNetInfo("imagenet-1k").label_names()


def _layout(settings: dict) -> Layout:
    """Return what ``write_imagenet`` writes with these settings."""
    synsets = settings["imagenet_classes"]
    names = imagenet_synsets() if synsets else CLASSES
    folders = [f"{split}/{name}" for split in SPLITS for name in names]
    files = [
        f"{split}/{_image_file(index, synsets)}"
        for split in SPLITS
        for index in range(settings["counts"][split])
    ]
    return Layout([*SPLITS, *folders], files)


def _layout_c(settings: dict) -> Layout:
    """Return what ``write_imagenet_c`` writes with these settings."""
    synsets = settings["imagenet_classes"]
    severities = [f"{name}/{severity}" for name in CORRUPTIONS for severity in SEVERITIES]
    names = IMAGENET_SYNSETS.values() if synsets else CLASSES
    folders = [f"{severity}/{name}" for severity in severities for name in names]
    files = [
        f"{severity}/{_image_file(index, synsets)}"
        for severity in severities
        for index in range(settings["count"])
    ]
    return Layout([*CORRUPTIONS, *severities, *folders], files)


def _image_file(index: int, synsets: bool) -> str:
    """Return the name of a scene's image, in its class's folder."""
    name = CLASSES[index % len(CLASSES)]
    folder = IMAGENET_SYNSETS[name] if synsets else name
    return f"{folder}/{folder}_{index + 1:08d}.jpg"


def _write_clean(
    out_dir: Path, split: str, size: tuple[int, int], seed: int, synsets: bool, index: int
) -> None:
    scene = make_object_scene(size, seed, split, index)
    write_image(out_dir / split / _image_file(index, synsets), scene.image)


def _write_corrupted(
    out_dir: Path, size: tuple[int, int], seed: int, synsets: bool, index: int
) -> None:
    image = make_object_scene(size, seed, "val", index).image
    for order, name in enumerate(CORRUPTIONS):
        for severity in SEVERITIES:
            rng = np.random.default_rng((seed, index, order))  # the same at all severities
            path = out_dir / name / str(severity) / _image_file(index, synsets)
            write_image(path, corrupt(image, name, severity, rng))
