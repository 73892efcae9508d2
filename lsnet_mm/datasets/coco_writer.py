"""Write the Shapes scenes as a data set in COCO 2017's layout and format."""

from collections.abc import Iterable
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from lsnet_mm.datasets.folders import Layout, claim, for_each_scene, write_image, write_json
from lsnet_mm.datasets.shapes import CLASSES, SPLITS, SceneObject, make_scene

COCO_NAMES = {
    "ellipse": "sports ball",
    "triangle": "pizza",
    "rectangle": "book",
    "star": "kite",
    "cross": "airplane",
    "ring": "donut",
    "crescent": "banana",
}
"""The COCO category that stands for each shape class where COCO's own categories are wanted."""

# Polygons are simplified outlines where that keeps these bounds, and exact ones elsewhere.
SIMPLIFICATION = 1.0  # distance from the outline, in pixels
MIN_POLYGON_IOU = 0.95  # of the polygons' mask with the true one
MAX_POLYGON_BOX_ERROR = 1  # between the sides of the two masks' boxes, in pixels

# COCO's categories in its order: ids run from 1 and pass over _UNUSED_IDS.
_SUPERCATEGORIES = {
    "person": "person",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "outdoor": "traffic light, fire hydrant, stop sign, parking meter, bench",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "accessory": "backpack, umbrella, handbag, tie, suitcase",
    "sports": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, "
    "skateboard, surfboard, tennis racket",
    "kitchen": "bottle, wine glass, cup, fork, knife, spoon, bowl",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake",
    "furniture": "chair, couch, potted plant, bed, dining table, toilet",
    "electronic": "tv, laptop, mouse, remote, keyboard, cell phone",
    "appliance": "microwave, oven, toaster, sink, refrigerator",
    "indoor": "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}
_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def write_coco(
    out_dir: Path,
    counts: dict[str, int],
    size: tuple[int, int],
    seed: int,
    coco_classes: bool = False,
) -> int:
    """Write Shapes scenes in COCO 2017's layout, and return the number of annotations.

    Writes ``{split}2017/*.jpg`` and then ``annotations/instances_{split}2017.json`` for every
    split, so a set that has its annotations is complete. Equal arguments give equal files. A
    progress bar shows on a terminal.

    Args:
        out_dir: Made if missing. An earlier run's files in it are replaced, all of them.
        counts: Number of scenes of each of ``SPLITS``.
        size: Width and height of the images in pixels, each at least ``MIN_SIDE``.
        seed: As for ``make_scene``.
        coco_classes: Declare COCO's 80 categories, with its ids, and give objects those of
            ``COCO_NAMES``. Otherwise the categories are ``CLASSES``, with ids from 1.

    Raises:
        OutputFolderError: If ``out_dir`` is no folder, or has other files where ours would go.
        OSError: If a file cannot be written; ``filename`` names it, and no part of it is left.
        ValueError: As ``make_scene``.
    """
    settings = {"format": "coco", "counts": counts, "size": size, "seed": seed}
    claim(out_dir, _layout, {**settings, "coco_classes": coco_classes})
    categories = coco_categories() if coco_classes else shape_categories()
    ids = {category["name"]: category["id"] for category in categories}
    label_ids = [ids[COCO_NAMES[name] if coco_classes else name] for name in CLASSES]
    entries = {}
    for split in SPLITS:
        work = partial(_write_image, out_dir, split, size, seed, label_ids)
        entries[split] = for_each_scene(work, counts[split], split)
    for split in SPLITS:
        content = {
            "info": {"description": f"Shapes, a synthetic data set ({split}, seed {seed})"},
            "licenses": [],
            "images": [image for image, _ in entries[split]],
            "annotations": _number(found for _, found in entries[split]),
            "categories": categories,
        }
        write_json(out_dir / _annotation_file(split), content)
    return sum(len(found) for split in SPLITS for _, found in entries[split])


def shape_categories() -> list[dict]:
    """Return the shape classes as COCO categories, with ids from 1."""
    return [
        {"supercategory": "shape", "id": i, "name": name} for i, name in enumerate(CLASSES, start=1)
    ]


def coco_categories() -> list[dict]:
    """Return COCO's 80 categories, with its ids, 1 to 90 with gaps."""
    ids = (i for i in range(1, 91) if i not in _UNUSED_IDS)
    return [
        {"supercategory": group, "id": next(ids), "name": name}
        for group, names in _SUPERCATEGORIES.items()
        for name in names.split(", ")
    ]


def annotate(item: SceneObject) -> dict:
    """Return the COCO annotation of an object, less its ids.

    ``area`` and ``bbox`` (x, y, width, height) are those of the visible mask, in whole pixels.
    ``segmentation`` is an uncompressed RLE, exact, of crowds and of masks with holes, and polygons
    of others.
    """
    polygons = [] if item.crowd else encode_polygons(item.mask)
    return {
        "iscrowd": int(item.crowd),
        "area": int(item.mask.sum()),
        "bbox": list(cv2.boundingRect(item.mask.astype(np.uint8))),
        "segmentation": polygons or encode_rle(item.mask),
    }


def encode_rle(mask: np.ndarray) -> dict:
    """Return the uncompressed RLE of a mask, bool (H, W): run lengths down its columns."""
    pixels = mask.ravel(order="F")
    starts = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(starts, prepend=0, append=pixels.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels[0] else counts}


def encode_polygons(mask: np.ndarray) -> list[list[int]]:
    """Return the outlines of a mask, bool (H, W), as COCO polygons; an empty list if it has holes.

    The polygons of a mask's parts alternate x and y, of three corners or more. They are simplified
    where ``MIN_POLYGON_IOU`` and ``MAX_POLYGON_BOX_ERROR`` allow, and else exact.
    """
    outlines = _outlines(mask)
    simple = _polygons(outlines, SIMPLIFICATION)
    return simple if simple and _agree(simple, mask) else _polygons(outlines, 0)


def _polygons(outlines: list[np.ndarray], tolerance: float) -> list[list[int]]:
    corners = [cv2.approxPolyDP(outline, tolerance, closed=True) for outline in outlines]
    return [polygon.ravel().tolist() for polygon in corners if len(polygon) >= 3]


def _agree(polygons: list[list[int]], mask: np.ndarray) -> bool:
    """Tell whether what the polygons enclose is close enough to the mask."""
    drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))
    truth = coco_mask.frPyObjects(encode_rle(mask), *mask.shape)
    boxes = coco_mask.toBbox([drawn, truth])
    boxes[:, 2:] += boxes[:, :2]
    box_error = np.abs(boxes[0] - boxes[1]).max()
    iou = coco_mask.iou([drawn], [truth], [0])[0, 0]
    return iou >= MIN_POLYGON_IOU and box_error <= MAX_POLYGON_BOX_ERROR


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of a mask's parts along pixel edges, int32 (n, 2); none if it has holes.

    OpenCV's contours run through pixel centres. In the mask at twice the size, where a pixel is two
    by two, they tell which edges of a pixel they follow: even coordinates its first, odd its last.
    """
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = mask[y : y + height, x : x + width].astype(np.uint8)
    doubled = part.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    is_hole = hierarchy[0, :, 3] >= 0
    corner = np.array((x, y), np.int32)
    return [] if is_hole.any() else [(contour[:, 0] + 1) // 2 + corner for contour in contours]


def _number(groups: Iterable[list[dict]]) -> list[dict]:
    """Return the images' annotations in one list, with ids from 1."""
    return [{"id": i, **annotation} for i, annotation in enumerate(chain(*groups), start=1)]


# Files.


def _layout(settings: dict) -> Layout:
    """Return what a run with these settings writes."""
    images = [
        _image_file(split, index) for split in SPLITS for index in range(settings["counts"][split])
    ]
    # Annotations come first, so that they go first and are never there without their images.
    folders = ["annotations", *(f"{split}2017" for split in SPLITS)]
    return Layout(folders, [*map(_annotation_file, SPLITS), *images])


def _image_file(split: str, index: int) -> str:
    return f"{split}2017/{index + 1:012d}.jpg"


def _annotation_file(split: str) -> str:
    return f"annotations/instances_{split}2017.json"


def _write_image(
    out_dir: Path, split: str, size: tuple[int, int], seed: int, label_ids: list[int], index: int
) -> tuple[dict, list[dict]]:
    """Write one image, and return its COCO entry and its annotations, these less their ids."""
    scene = make_scene(size, seed, split, index)
    path = out_dir / _image_file(split, index)
    write_image(path, scene.image)
    image = {"id": index + 1, "file_name": path.name, "width": size[0], "height": size[1]}
    annotations = [
        {"image_id": index + 1, "category_id": label_ids[item.label], **annotate(item)}
        for item in scene.objects
    ]
    return image, annotations
