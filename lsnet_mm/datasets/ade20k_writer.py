"""Write the Shapes scenes as a data set in ADE20K's layout and format."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lsnet_mm.datasets.folders import Layout, claim, for_each_scene, write_image
from lsnet_mm.datasets.shapes import SPLITS, Scene, make_scene

IGNORED = 0
"""The label of pixels that belong to no class; that of class ``i`` is ``i + 1``."""

ROOT = "ADEChallengeData2016"
_FOLDERS = {"train": "training", "val": "validation"}


def write_ade20k(out_dir: Path, counts: dict[str, int], size: tuple[int, int], seed: int) -> None:
    """Write Shapes scenes in ADE20K's layout, with ``SEGMENTATION_CLASSES`` as its classes.

    Writes the label map ``ROOT/annotations/{training,validation}/ADE_{split}_*.png`` and then the
    image ``ROOT/images/{training,validation}/ADE_{split}_*.jpg`` of every scene, so an image that
    is there has its labels. Equal arguments give equal files. A progress bar shows on a terminal.

    Args:
        out_dir: Made if missing. An earlier run's files in it are replaced, all of them.
        counts: Number of scenes of each of ``SPLITS``.
        size: Width and height of the images in pixels, each at least ``MIN_SIDE``.
        seed: As for ``make_scene``.

    Raises:
        OutputFolderError: As ``claim``.
        OSError: If a file cannot be written; ``filename`` names it, and no part of it is left.
        ValueError: As ``make_scene``.
    """
    settings = {"format": "ade20k", "counts": counts, "size": size, "seed": seed}
    claim(out_dir, _layout, settings)
    for split in SPLITS:
        for_each_scene(partial(_write_scene, out_dir, split, size, seed), counts[split], split)


def label_pixels(scene: Scene) -> np.ndarray:
    """Return a scene's label map, uint8 (H, W): one more than the class, or ``IGNORED``.

    Ignored are the pixels that touch one of another class by a side: where an outline runs is
    anyone's guess to within a pixel.
    """
    labels = scene.label_map()
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outline = cv2.dilate(labels, cross) != cv2.erode(labels, cross)
    return np.where(outline, np.uint8(IGNORED), labels + np.uint8(1))


def _layout(settings: dict) -> Layout:
    """Return what a run with these settings writes."""
    # Images come first, so that they go first and are never there without their labels.
    kinds = ("images", "annotations")
    folders = [f"{ROOT}/{kind}/{_FOLDERS[split]}" for kind in kinds for split in SPLITS]
    files = [
        name
        for split in SPLITS
        for index in range(settings["counts"][split])
        for name in _files(split, index)
    ]
    return Layout(folders, files)


def _files(split: str, index: int) -> tuple[str, str]:
    """Return the names of a scene's image and label map."""
    name = f"{_FOLDERS[split]}/ADE_{split}_{index + 1:08d}"
    return f"{ROOT}/images/{name}.jpg", f"{ROOT}/annotations/{name}.png"


def _write_scene(out_dir: Path, split: str, size: tuple[int, int], seed: int, index: int) -> None:
    scene = make_scene(size, seed, split, index)
    image, labels = _files(split, index)
    write_image(out_dir / labels, label_pixels(scene))
    write_image(out_dir / image, scene.image)
