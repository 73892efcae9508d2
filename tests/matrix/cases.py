"""Configs of mmdet, mmseg and mmpretrain, and what a user writes to have LSNet-T in them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A config of a library with LSNet-T in it.

    Attributes:
        family: The network's name.
        config: The library's, as ``_base_`` names it.
        task: What it predicts.
        way: What is written into ``model``, a key of :data:`WAYS`.
        remark: Why it takes more than that, or what is lost.
        smaller: Settings that let it run on small images, by their dotted names.
        sample: What a training example has besides boxes and labels: ``'masks'``, ``'semantic'``
            (also a label map) or ``'semantic8'`` (at an eighth of the size).
    """

    family: str
    config: str
    task: str
    way: str
    remark: str = ""
    smaller: dict[str, Any] = field(default_factory=dict)
    sample: str = ""


# What follows `model = dict(data_preprocessor=_base_.lsnet_pixels, ` in a user's config.
WAYS = {
    "fpn": "backbone=_base_.lsnet, neck=_base_.lsnet_fpn",
    "fpn 4-32": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(_base_.lsnet_fpn, in_channels=_base_.lsnet_channels[:3])",
    "levels": "backbone=_base_.lsnet, neck=dict(in_channels=_base_.lsnet_channels, start_level=0)",
    "mapper": "backbone=_base_.lsnet, neck=dict(in_channels=_base_.lsnet_channels)",
    "three": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(in_channels=_base_.lsnet_channels[:3])",
    "coarsest first": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2::-1])",
    "stride 32": "backbone=dict(_base_.lsnet, out_indices=(2,)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2:3])",
    "stride 32, int": "backbone=dict(_base_.lsnet, out_indices=(2,)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2])",
    "pyramid": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=[_base_.lsnet_pyramid, dict(_base_.model.neck, in_channels=[256] * 4)]",
    "pixel decoder": "backbone=_base_.lsnet, panoptic_head=dict("
    "in_channels=_base_.lsnet_channels, strides=[8, 16, 32, 64])",
    "pixel decoder, no strides": "backbone=_base_.lsnet, "
    "panoptic_head=dict(in_channels=_base_.lsnet_channels)",
    "use_in": "",
}
