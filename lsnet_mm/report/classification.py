"""Results of a classifier on a data set with one label an image."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from lsnet_mm.check.files import load_image
from lsnet_mm.check.grid import shrink
from lsnet_mm.errors import InputError

from .results import PICTURE, WORST, Case, Results, count_pairs, percent


def measure(dataset: BaseDataset, predictions: Sequence[dict[str, Any]]) -> Results:
    """Measure classification by accuracy, count confusions and show the images of most loss.

    Args:
        dataset: Of mmpretrain; with ``metainfo['subset']`` only these labels may be answered, as
            in :class:`~lsnet_mm.datasets.imagenet_variants.ImageNetVariant`.
        predictions: Of each of its images, as mmengine's ``DumpResults`` writes them.

    Raises:
        InputError: If an image has no label, or several.
        UnusableFileError: If an image to be shown cannot be read.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    for info in infos:
        if not isinstance(info.get("gt_label"), int | np.integer):
            raise InputError(f"{info.get('img_path')} has not one label: {info.get('gt_label')}")
    true = np.array([info["gt_label"] for info in infos])
    scores = torch.stack([prediction["pred_score"] for prediction in predictions]).float().numpy()
    size = scores.shape[1]
    classes = dataset.metainfo.get("classes") or [str(i) for i in range(size)]
    allowed = np.asarray(dataset.metainfo.get("subset", range(size)))
    found = allowed[scores[:, allowed].argmax(1)]
    confusion = count_pairs(true, found, size)
    right = confusion.diagonal()
    images = np.arange(len(infos))
    worst = np.argsort(scores[images, true], kind="stable")[:WORST]
    return Results(
        images=len(infos),
        numbers={"top-1": float(percent(right.sum(), len(infos)))},
        classes=classes,
        columns={
            "accuracy": percent(right, confusion.sum(1)),
            "precision": percent(right, confusion.sum(0)),
            "images": confusion.sum(1),
        },
        confusion=confusion,
        labels=classes,
        unit="images",
        method="Accuracy is the share of a class's images that were found to be of it; precision "
        "the share of images found to be of it that are.",
        order="score of its true class",
        cases=[_case(infos[i], classes, scores[i], true[i], found[i]) for i in worst],
    )


def _case(
    info: dict[str, Any], classes: Sequence[str], scores: np.ndarray, true: int, found: int
) -> Case:
    answer = f"{classes[found]} ({100 * scores[found]:.1f} %)"
    note = (
        f"true and found: {answer}"
        if found == true
        else f"true: {classes[true]} ({100 * scores[true]:.1f} %), found: {answer}"
    )
    picture = shrink(load_image(info["img_path"]), PICTURE)
    return Case(osp.basename(info["img_path"]), note, {"": picture}, {})
