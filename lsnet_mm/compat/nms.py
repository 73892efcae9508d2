"""Non-maximum suppression: mmcv's ``nms``, ``softnms`` and ``nms_match``.

Boxes are (x1, y1, x2, y2). A box is ``x2 - x1 + offset`` wide and ``y2 - y1 + offset`` high: with
``offset=1`` coordinates are indices of pixels, and the right and bottom ones belong to the box.
"""

import torch
import torchvision.ops
from torch import Tensor

from .precision import at_least_float32

__all__ = ["nms", "nms_match", "softnms"]

NAIVE, LINEAR, GAUSSIAN = range(3)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that no better kept box overlaps by an IoU above the threshold.

    Args:
        boxes: (N, 4), floating point. N may be 0.
        scores: (N,), floating point.
        iou_threshold: A box goes if its IoU with a kept one is greater than this.
        offset: 0 or 1, see above.

    Returns:
        (K,) int64, best score first, equal scores in the order of the input.

    Source: mmcv docs, ``mmcv.ops.nms``.
    """
    boxes, scores = at_least_float32(boxes), at_least_float32(scores)
    edges = boxes.new_tensor([0, 0, offset, offset])
    # torchvision compares with the threshold in float64, mmcv in the precision of the boxes. They
    # differ where the IoU equals the threshold: 3/5 in float32 is more than 0.6 in float64.
    threshold = boxes.new_tensor(iou_threshold).item()
    return torchvision.ops.nms(boxes + edges, scores.to(boxes.dtype), threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS: a kept box lowers the scores of those it overlaps, and low scores are dropped.

    Args:
        boxes: (N, 4), floating point. N may be 0.
        scores: (N,), floating point; left as they are.
        dets: (N, 5), overwritten: its first K rows become (x1, y1, x2, y2, lowered score).
        iou_threshold: Methods 0 and 1 touch a box if its IoU is this or more.
        sigma: Width of the gaussian method: scores are scaled by ``exp(-iou^2 / sigma)``.
        min_score: A box goes once its score is below this. The best box of all always stays.
        method: 0 naive (scores become 0), 1 linear (scaled by ``1 - iou``), 2 gaussian.
        offset: 0 or 1, see above.

    Returns:
        (K,) int64, best lowered score first. Of equal scores the earlier box comes first, where
        mmcv's order depends on the boxes dropped before. K is 0 if N is, else at least 1.

    Source: mmcv docs, ``mmcv.ops.soft_nms``; Bodla et al. 2017, "Soft-NMS".
    """
    boxes, scores = at_least_float32(boxes), at_least_float32(scores)
    left = torch.arange(len(boxes), device=boxes.device)
    kept: list[int] = []
    while len(left):
        best = int(scores.argmax())
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], scores[best]
        kept.append(int(left[best]))
        scores = scores * _decay(_iou(boxes[best], boxes, offset), iou_threshold, sigma, method)
        stay = scores >= min_score
        stay[best] = False
        boxes, scores, left = boxes[stay], scores[stay], left[stay]
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of boxes: each kept one and those it suppresses.

    Args:
        dets: (N, 5) as (x1, y1, x2, y2, score), floating point. N may be 0.
        iou_threshold: A box joins the first kept one that it overlaps by this IoU or more.

    Returns:
        One list of indices per kept box, both the lists and the indices in order of score.

    Source: mmcv docs, ``mmcv.ops.nms_match``.
    """
    dets = at_least_float32(dets)
    boxes, scores = dets[:, :4], dets[:, 4]
    left = scores.argsort(descending=True, stable=True)
    groups = []
    while len(left):
        joins = _iou(boxes[left[0]], boxes[left], offset=0) >= iou_threshold
        joins[0] = True
        groups.append(left[joins].tolist())
        left = left[~joins]
    return groups


def _decay(iou: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    """Factors for the scores of boxes at these IoUs with a kept one; shape of ``iou``."""
    if method == GAUSSIAN:
        return torch.exp(-iou.square() / sigma)
    lowered = 1 - iou if method == LINEAR else torch.zeros_like(iou)
    return torch.where(iou >= iou_threshold, lowered, 1.0)


def _iou(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """IoU of a box, (4,), with each of ``boxes``, (N, 4); 0 between two boxes without area."""
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    overlap = (high - low + offset).clamp(min=0).prod(-1)
    union = _area(box, offset) + _area(boxes, offset) - overlap
    return torch.nan_to_num(overlap / union)


def _area(boxes: Tensor, offset: int) -> Tensor:
    """Areas, (...), of boxes, (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2] + offset).prod(-1)
