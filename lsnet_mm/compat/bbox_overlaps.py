"""Overlaps of boxes: mmcv's ``bbox_overlaps``.

Source: mmcv docs, ``mmcv.ops.bbox_overlaps``.
"""

import torch
from torch import Tensor

from .precision import at_least_float32

__all__ = ["bbox_overlaps"]

IOU = 0  # mode; 1 is the share of the first box


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Overlap of each box of one set with each of another, or of boxes pair by pair.

    Args:
        bboxes1: (N, 4) as (x1, y1, x2, y2), floating point.
        bboxes2: (M, 4); M is N if ``aligned``.
        ious: (N, M), or (N,) if ``aligned``; overwritten. Of two boxes without area it is NaN with
            ``offset=0``, as in mmcv.
        mode: 0: area of the intersection by that of the union; 1: by that of the first box.
        aligned: Whether to take boxes pair by pair.
        offset: 0, or 1 if the right and bottom coordinates are those of pixels that belong to the
            box.
    """
    first, second = at_least_float32(bboxes1), at_least_float32(bboxes2)
    if not aligned:
        first = first[:, None]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low + offset).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == IOU:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(-1) - overlap
    ious.copy_(overlap / area)
