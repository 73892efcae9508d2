"""Results of a segmentor on a data set with label maps."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image, ImageOps
from tqdm import tqdm

from lsnet_mm.check.files import load_image
from lsnet_mm.check.grid import Colour, colours, paint, shrink
from lsnet_mm.check.semantic import VALUES, Meaning, read_meaning
from lsnet_mm.errors import InputError

from .results import PICTURE, WORST, Case, Results, count_pairs, percent


def measure(dataset: BaseDataset, predictions: Sequence[dict[str, Any]]) -> Results:
    """Measure label maps by IoU, count confusions and draw the worst images.

    Args:
        dataset: Of mmseg.
        predictions: Of each of its images, as ``DumpSegResults`` or mmengine's ``DumpResults``
            writes them.

    Raises:
        InputError: If there is no label map of an image, or it is of another size than predicted.
        UnusableFileError: If a file cannot be read.
    """
    classes = dataset.metainfo["classes"]
    meaning = read_meaning(dataset, len(classes))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    scores = []
    for info, prediction in zip(
        tqdm(infos, desc="measuring", unit=" images", disable=None), predictions, strict=True
    ):
        counts = _confusion(_true_labels(info, meaning), _found_labels(prediction), len(classes))
        confusion += counts
        scores.append(mean_iou(counts))
    right, true, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou, accuracy = percent(right, true + answered - right), percent(right, true)
    palette = colours(dataset.metainfo.get("palette"), len(classes))
    # Images without labels have no score, and come last.
    worst = np.argsort(scores, kind="stable")[:WORST]
    return Results(
        images=len(infos),
        numbers={
            "mIoU": float(np.nanmean(iou)),
            "mAcc": float(np.nanmean(accuracy)),
            "aAcc": float(percent(right.sum(), true.sum())),
        },
        classes=classes,
        columns={
            "IoU": iou,
            "accuracy": accuracy,
            "precision": percent(right, answered),
            "% of pixels": percent(true, np.full(len(classes), true.sum())),
        },
        confusion=confusion,
        labels=classes,
        unit="pixels",
        method="Confusions are of pixels. Pixels that the data set ignores do not count.",
        order="mean IoU of its true classes",
        cases=[
            _case(infos[i], predictions[i], scores[i], meaning, classes, palette) for i in worst
        ],
    )


def mean_iou(counts: np.ndarray) -> float:
    """Mean IoU, in per cent, of the classes that an image shows; NaN if it shows none.

    Args:
        counts: Pixels by true and found class, (classes, classes).
    """
    right, true = counts.diagonal(), counts.sum(1)
    iou = percent(right, true + counts.sum(0) - right)
    return float(iou[true > 0].mean()) if true.any() else float("nan")


def _true_labels(info: dict[str, Any], meaning: Meaning) -> np.ndarray:
    """The classes of an image's pixels, int (H, W); ``meaning.classes`` or more to ignore."""
    if not info.get("seg_map_path"):
        raise InputError(f"{info['img_path']} has no label map")
    values = np.asarray(load_image(info["seg_map_path"]))
    return meaning.table[np.clip(values, 0, VALUES)]


def _found_labels(prediction: dict[str, Any]) -> np.ndarray:
    return prediction["pred_sem_seg"]["data"].numpy()[0]


def _confusion(true: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    if true.shape != found.shape:
        shapes = "{}x{}, but the label map {}x{}".format(*found.shape[::-1], *true.shape[::-1])
        raise InputError(f"a prediction is {shapes}")
    counted = true < classes
    return count_pairs(true[counted], found[counted], classes)


def _case(
    info: dict[str, Any],
    prediction: dict[str, Any],
    score: float,
    meaning: Meaning,
    classes: Sequence[str],
    palette: Sequence[Colour],
) -> Case:
    image = load_image(info["img_path"])
    true, found = _true_labels(info, meaning), _found_labels(prediction)
    shown = np.union1d(true[true < len(classes)], found)
    return Case(
        osp.basename(info["img_path"]),
        f"mean IoU {score:.1f}",
        {
            "ground truth": _draw(image, true, palette),
            "prediction": _draw(image, found, palette),
        },
        {classes[label]: palette[label] for label in shown},
    )


def _draw(image: Image.Image, labels: np.ndarray, palette: Sequence[Colour]) -> Image.Image:
    # In grey, so that all colour is that of classes.
    picture = ImageOps.grayscale(shrink(image, PICTURE)).convert("RGB")
    for label in np.unique(labels[labels < len(palette)]):
        paint(picture, labels == label, palette[label])
    return picture
