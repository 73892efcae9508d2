"""Results of a detector on a data set in COCO's format."""

import os.path as osp
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.dataset import BaseDataset
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lsnet_mm.check.coco import decode_mask
from lsnet_mm.check.files import load_image
from lsnet_mm.check.grid import Colour, colours, frame, paint, shrink
from lsnet_mm.errors import InputError

from .results import PICTURE, WORST, Case, Results, count_pairs, percent

SCORE = 0.3  # from which a detection is counted and drawn
OVERLAP = 0.5  # IoU from which it is of an object
NONE, IGNORED = -1, -2  # of no object; of an area where detections do not count
NAMES = ("AP", "AP50", "AP75")
TEXT = 14  # height of names in pictures, in pixels


@dataclass
class Objects:
    """Objects of an image, annotated or detected.

    Attributes:
        boxes: Left, top, right, bottom in pixels, float32 (n, 4).
        labels: int64 (n,).
        scores: float32 (n,), NaN for annotated objects.
        masks: Polygons or RLE of each; None for those without.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: Sequence[Any]

    def take(self, chosen: np.ndarray) -> "Objects":
        """Return some of them, by indices (m,)."""
        masks = [self.masks[i] for i in chosen]
        return Objects(self.boxes[chosen], self.labels[chosen], self.scores[chosen], masks)


class Tally(NamedTuple):
    """Objects and detections of an image.

    Attributes:
        right: Objects found.
        wrong: Objects taken for another class.
        missed: Objects not found.
        false: Detections of no object.
    """

    right: int
    wrong: int
    missed: int
    false: int


def measure(dataset: BaseDataset, predictions: Sequence[dict[str, Any]]) -> Results:
    """Measure detections by COCO's AP, count confusions and draw the worst images.

    Args:
        dataset: mmdet's CocoDataset.
        predictions: Of each of its images, as mmdet's ``DumpDetResults`` writes them.

    Raises:
        InputError: If the data set is not in COCO's format.
        UnusableFileError: If an image to be drawn cannot be read.
    """
    if not any(kind.__name__ == "CocoDataset" for kind in type(dataset).__mro__):
        raise InputError(f"{type(dataset).__name__} is not of COCO's format")
    classes = dataset.metainfo["classes"]
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = [_detected(prediction["pred_instances"]) for prediction in predictions]
    numbers, columns = _precisions(dataset, infos, found)
    confusion, tallies = np.zeros((len(classes) + 1,) * 2, np.int64), []
    for info, seen in zip(infos, found, strict=True):
        counts = _confusion(info, seen, len(classes))
        confusion += counts
        tallies.append(tally(counts))
    right, true, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    columns["recall"] = percent(right, true)[:-1]
    columns["precision"] = percent(right, answered)[:-1]
    columns["objects"] = true[:-1]
    palette = colours(dataset.metainfo.get("palette"), len(classes))
    return Results(
        images=len(infos),
        numbers=numbers,
        classes=classes,
        columns=columns,
        confusion=confusion,
        labels=[*classes, "background"],
        unit="objects",
        method=f"Confusions, recall and precision count detections with a score of {SCORE} or "
        f"more. In the order of their scores, each takes the free object that it overlaps most, "
        f"with an IoU of {OVERLAP} or more, whatever its class. Objects that none takes were "
        "found as background: missed; detections of none have background as their true class.",
        order="F1 of its detections",
        cases=[
            _case(infos[i], found[i], tallies[i], classes, palette) for i in worst_first(tallies)
        ],
    )


def _detected(instances: dict[str, Any]) -> Objects:
    """The detections of an image, the best first."""
    order = torch.argsort(instances["scores"], descending=True, stable=True).numpy()
    found = Objects(
        instances["bboxes"].float().numpy(),
        instances["labels"].numpy(),
        instances["scores"].float().numpy(),
        instances.get("masks") or [None] * len(order),
    )
    return found.take(order)


def _annotated(info: dict[str, Any], ignored: bool) -> Objects:
    """The objects of an image, or its areas where detections do not count."""
    chosen = [item for item in info["instances"] if bool(item["ignore_flag"]) is ignored]
    return Objects(
        np.array([item["bbox"] for item in chosen], np.float32).reshape(-1, 4),
        np.array([item["bbox_label"] for item in chosen], np.int64),
        np.full(len(chosen), np.nan, np.float32),
        [item.get("mask") for item in chosen],
    )


# Average precision.


def _precisions(
    dataset: BaseDataset, infos: Sequence[dict], found: Sequence[Objects]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """AP of boxes, and of masks where they were predicted, over all classes and by class."""
    with redirect_stdout(StringIO()):
        truth = COCO(dataset.ann_file)
    image_ids = [info["img_id"] for info in infos]
    numbers, columns = {}, {}
    kinds = {"bbox": "box", "segm": "mask"}
    if not any(mask is not None for seen in found for mask in seen.masks):
        del kinds["segm"]
    for kind, name in kinds.items():
        entries = [
            entry
            for image_id, seen in zip(image_ids, found, strict=True)
            for entry in _entries(image_id, seen, dataset.cat_ids, kind)
        ]
        precisions = average_precisions(truth, entries, dataset.cat_ids, image_ids, kind)
        columns |= {f"{name} {n}": precisions[:, i] for i, n in enumerate(NAMES[:2])}
        present = precisions[~np.isnan(precisions[:, 0])]
        if len(present):
            numbers |= {f"{name} {n}": present[:, i].mean() for i, n in enumerate(NAMES)}
    return numbers, columns


def _entries(image_id: int, seen: Objects, category_ids: Sequence[int], kind: str) -> list[dict]:
    """The detections of an image as pycocotools takes them."""
    left_top, right_bottom = seen.boxes[:, :2], seen.boxes[:, 2:]
    boxes = np.concatenate([left_top, right_bottom - left_top], 1).tolist()
    return [
        dict(
            image_id=image_id,
            category_id=category_ids[label],
            score=float(score),
            **({"bbox": box} if kind == "bbox" else {"segmentation": mask}),
        )
        for box, label, score, mask in zip(boxes, seen.labels, seen.scores, seen.masks, strict=True)
    ]


def average_precisions(
    truth: COCO,
    detections: list[dict[str, Any]],
    category_ids: Sequence[int],
    image_ids: Sequence[int],
    kind: str,
) -> np.ndarray:
    """Return COCO's AP, AP50 and AP75 by class, in per cent.

    Args:
        truth: The annotations.
        detections: As pycocotools' ``loadRes`` takes them.
        category_ids: Of the classes.
        image_ids: Of the images to look at.
        kind: ``"bbox"`` or ``"segm"``.

    Returns:
        float64 (classes, 3); NaN for classes without objects.
    """
    with redirect_stdout(StringIO()):
        found = truth.loadRes(detections) if detections else COCO()
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.catIds = list(category_ids)
        evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    # By IoU from 0.5 in steps of 0.05, recall and class; for objects of all sizes, the 100 best.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_overlap = 100 * np.where(precision < 0, np.nan, precision).mean(1)
    return np.stack([by_overlap.mean(0), by_overlap[0], by_overlap[5]], 1)


# Confusions.


def match(found: np.ndarray, truth: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Match detected boxes with annotated ones, one to one.

    Each detection in turn takes the free object that it overlaps most, from an IoU of ``OVERLAP``.

    Args:
        found: float (n, 4), the best first.
        truth: float (m, 4).
        ignored: Areas where detections do not count if half of them lies within, float (k, 4).

    Returns:
        For each detection the index of its object, ``NONE`` or ``IGNORED``, int64 (n,).
    """
    matched = np.full(len(found), NONE)
    boxes = torch.from_numpy(found)
    overlaps = bbox_overlaps(boxes, torch.from_numpy(truth)).numpy()
    inside = bbox_overlaps(boxes, torch.from_numpy(ignored), mode="iof").numpy()
    matched[(inside >= OVERLAP).any(1)] = IGNORED
    for i, of_box in enumerate(overlaps):
        if len(truth) and of_box.max() >= OVERLAP:
            matched[i] = of_box.argmax()
            overlaps[:, matched[i]] = 0  # taken
    return matched


def _confusion(info: dict[str, Any], seen: Objects, classes: int) -> np.ndarray:
    """Confusions in an image, int64 (classes + 1, classes + 1); the last is background."""
    truth, ignored = _annotated(info, False), _annotated(info, True)
    seen = seen.take(np.flatnonzero(seen.scores >= SCORE))
    matched = match(seen.boxes, truth.boxes, ignored.boxes)
    taken = matched >= 0
    missed = np.setdiff1d(np.arange(len(truth.labels)), matched)
    false = seen.labels[matched == NONE]
    true = [truth.labels[matched[taken]], truth.labels[missed], np.full(len(false), classes)]
    answers = [seen.labels[taken], np.full(len(missed), classes), false]
    return count_pairs(np.concatenate(true), np.concatenate(answers), classes + 1)


def tally(counts: np.ndarray) -> Tally:
    """Sum up the confusions of an image, int64 (classes + 1, classes + 1)."""
    right, missed, false = counts.trace(), counts[:-1, -1].sum(), counts[-1, :-1].sum()
    return Tally(*map(int, (right, counts.sum() - right - missed - false, missed, false)))


def worst_first(tallies: Sequence[Tally]) -> list[int]:
    """Return the images of least F1, and among equals of most errors, worst first."""
    right, wrong, missed, false = np.array(tallies).T
    errors = 2 * wrong + missed + false  # another class is an object missed and a false one
    f1 = np.where(errors > 0, 2 * right / np.maximum(2 * right + errors, 1), 1)
    return np.lexsort((-errors, f1))[:WORST].tolist()


# Pictures.


def _case(
    info: dict[str, Any],
    seen: Objects,
    counts: Tally,
    classes: Sequence[str],
    palette: Sequence[Colour],
) -> Case:
    right, wrong, missed, false = counts
    size = info["width"], info["height"]
    image = load_image(info["img_path"])
    truth, drawn = _annotated(info, False), seen.take(np.flatnonzero(seen.scores >= SCORE)[::-1])
    if not any(mask is not None for mask in seen.masks):  # of a detector of boxes
        truth.masks = [None] * len(truth.masks)
    return Case(
        osp.basename(info["img_path"]),
        f"right {right} of {right + wrong + missed}, missed {missed}, "
        f"of another class {wrong}, false {false}",
        {
            "ground truth": _draw(image, size, truth, classes, palette),
            "predictions": _draw(image, size, drawn, classes, palette),
        },
        {},
    )


def _draw(
    image: Image.Image,
    size: tuple[int, int],
    objects: Objects,
    classes: Sequence[str],
    palette: Sequence[Colour],
) -> Image.Image:
    picture = shrink(image, PICTURE)
    for mask, label in zip(objects.masks, objects.labels, strict=True):
        if mask is not None:
            paint(picture, decode_mask(mask, *size), palette[label])
    scale = np.tile(np.divide(picture.size, size), 2)
    for box, label, score in zip(
        objects.boxes * scale, objects.labels, objects.scores, strict=True
    ):
        name = classes[label] if np.isnan(score) else f"{classes[label]} {score:.2f}"
        frame(picture, tuple(box.tolist()), name, palette[label], TEXT)
    return picture
