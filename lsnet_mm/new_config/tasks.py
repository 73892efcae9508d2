"""What the tasks differ in: how data is read, and what of our configs is inherited."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import classification, coco, semantic
from .layout import OwnData
from .render import Code

COUNT = {"num_classes": Code("num_classes")}


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        read: Reads the data that the tool's arguments name.
        network: How our configs call its networks, with {} for the variant of LSNet.
        trained_on: How they call the data that the authors trained them on.
        parts: Settings of the network's parts that predict classes.
        published: How the authors call their weights of the whole network, if they can be gone on
            from.
        metric: What the best checkpoint is chosen by, where the inherited config does not say so.
    """

    read: Callable[[argparse.Namespace], OwnData]
    network: str
    trained_on: str
    parts: dict[str, Any]
    published: str | None
    metric: str | None


TASKS = {
    "detection": Task(
        read=coco.read,
        network="retinanet_lsnet_{}",
        trained_on="coco",
        parts={"bbox_head": COUNT},
        published="lsnet_{}_retinanet",
        metric="coco/bbox_mAP",
    ),
    "instance": Task(
        read=coco.read,
        network="mask_rcnn_lsnet_{}",
        trained_on="coco",
        parts={"roi_head": {"bbox_head": COUNT, "mask_head": COUNT}},
        published="lsnet_{}_maskrcnn",
        metric="coco/segm_mAP",
    ),
    "semantic": Task(
        read=semantic.read,
        network="fpn_lsnet_{}",
        trained_on="ade20k",
        parts={"decode_head": COUNT},
        published="lsnet_{}_semfpn",
        metric="mIoU",
    ),
    "classification": Task(
        read=classification.read,
        network="lsnet_{}",
        trained_on="imagenet",
        parts={"data_preprocessor": COUNT, "head": COUNT},
        published=None,
        metric=None,
    ),
}
