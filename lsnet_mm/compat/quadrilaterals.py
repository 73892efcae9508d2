"""Rotated boxes and quadrilaterals: mmcv's ``box_iou_rotated``, ``nms_rotated``, ``box_iou_quadri``
and ``nms_quadri``.

The intersection of two convex quadrilaterals is the convex polygon whose corners are the crossings
of their sides, and the corners of each that lie in the other. All is computed in float64: where
sides nearly coincide, as often in real boxes, float32 misses corners.

Source: mmcv docs, ``mmcv.ops.box_iou_rotated``, ``nms_rotated``, ``box_iou_quadri``,
``nms_quadri``.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["box_iou_quadri", "box_iou_rotated", "nms_quadri", "nms_rotated"]

IOU = 0  # mode_flag; 1 is the share of the first box
PAIRS_AT_ONCE = 1 << 18


def box_iou_rotated(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Overlap of each rotated box of one set with each of another, or pair by pair.

    Args:
        boxes1: (N, 5) as (centre x, centre y, width, height, angle), floating point; positive
            angles, in radians, turn the box clockwise, as the image is seen.
        boxes2: (M, 5); M is N if ``aligned``.
        ious: (N * M,), or (N,) if ``aligned``; overwritten. 0 if a box has no area.
        mode_flag: 0: area of the intersection by that of the union; 1: by that of the first box.
        aligned: Whether to take boxes pair by pair.
    """
    corners = _rotated_corners(boxes1), _rotated_corners(boxes2)
    ious.copy_((_overlaps if aligned else _every_pair)(*corners, mode_flag).flatten())


def box_iou_quadri(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """:func:`box_iou_rotated` for convex quadrilaterals, (N, 8) and (M, 8) as (x1, y1, ..., y4)."""
    corners = _quadri_corners(boxes1), _quadri_corners(boxes2)
    ious.copy_((_overlaps if aligned else _every_pair)(*corners, mode_flag).flatten())


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Indices of the rotated boxes that no better kept box overlaps by an IoU above the threshold.

    Args:
        dets: (N, 5) as in :func:`box_iou_rotated`, or (N, 6) with a label, floating point.
        scores, labels: Unused: ``order`` and ``dets`` hold what is needed of them.
        order: (N,) int64, indices by descending score.
        dets_sorted: ``dets[order]``.
        iou_threshold: A box goes if its IoU with a kept one is greater than this.
        multi_label: Whether boxes have labels; then those of different labels do not compete.

    Returns:
        (K,) int64, best score first.
    """
    return _nms(_rotated_corners(dets_sorted[:, :5]), dets_sorted[:, 5:], order, iou_threshold)


def nms_quadri(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """:func:`nms_rotated` for convex quadrilaterals, (N, 8) or (N, 9) with a label."""
    return _nms(_quadri_corners(dets_sorted[:, :8]), dets_sorted[:, 8:], order, iou_threshold)


def _rotated_corners(boxes: Tensor) -> Tensor:
    """Corners, (N, 4, 2), of rotated boxes, (N, 5)."""
    boxes = boxes.double()
    cos, sin = boxes[:, 4, None].cos(), boxes[:, 4, None].sin()
    x = boxes[:, 2, None] * boxes.new_tensor([-0.5, 0.5, 0.5, -0.5])
    y = boxes[:, 3, None] * boxes.new_tensor([-0.5, -0.5, 0.5, 0.5])
    return boxes[:, None, :2] + torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)


def _quadri_corners(boxes: Tensor) -> Tensor:
    """Corners, (N, 4, 2), of quadrilaterals, (N, 8)."""
    return boxes.double().unflatten(1, (4, 2))


def _nms(corners: Tensor, labels: Tensor, order: Tensor, threshold: float) -> Tensor:
    """What :func:`nms_rotated` returns, for corners in order of score and labels, (N, 0 or 1)."""
    rivals = (labels[:, None] == labels).all(-1)
    suppresses = ((_every_pair(corners, corners, IOU) > threshold) & rivals).triu(1).cpu().numpy()
    left = np.ones(len(corners), dtype=bool)
    for box in range(len(left)):
        if left[box]:
            left &= ~suppresses[box]
    return order[torch.from_numpy(left).to(order.device)]


def _every_pair(first: Tensor, second: Tensor, mode: int) -> Tensor:
    """Overlaps, (N, M), of quadrilaterals, (N, 4, 2) and (M, 4, 2); some rows at a time."""
    rows = first[:, None].split(max(1, PAIRS_AT_ONCE // max(1, len(second))))
    return torch.cat([_overlaps(row, second, mode) for row in rows])


def _overlaps(first: Tensor, second: Tensor, mode: int) -> Tensor:
    """Overlaps, (...), of quadrilaterals whose shapes broadcast to (..., 4, 2)."""
    area, other_area = _area(first), _area(second)
    # Most pairs are far apart: only those whose upright bounding boxes meet are looked at closely.
    near = (first.amin(-2) <= second.amax(-2)).all(-1) & (second.amin(-2) <= first.amax(-2)).all(-1)
    near &= (area > 0) & (other_area > 0)
    overlap = area.new_zeros(near.shape)
    overlap[near] = _intersection(*(x.expand(*near.shape, 4, 2)[near] for x in (first, second)))
    whole = area + other_area - overlap if mode == IOU else area
    return torch.where(near, overlap / whole, 0)


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    """Areas, (P,), of the intersections of quadrilaterals, (P, 4, 2) both."""
    middle = (first.mean(1, keepdim=True) + second.mean(1, keepdim=True)) / 2
    first, second = first - middle, second - middle  # around 0, where floats are dense
    crossings, crossed = _crossings(first, second)
    points = torch.cat([crossings, first, second], dim=1)  # (P, 24, 2)
    valid = torch.cat([crossed, _inside(first, second), _inside(second, first)], dim=1)
    centre = (points * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
    points = points - centre[:, None]
    angle = torch.atan2(points[..., 1], points[..., 0]).masked_fill(~valid, torch.inf)
    order = angle.argsort(1)
    points = points.gather(1, order[..., None].expand(-1, -1, 2))
    # What is no corner comes last; as copies of the first corner it closes the polygon.
    is_corner = torch.arange(24, device=valid.device) < valid.sum(1, keepdim=True)
    return _area(torch.where(is_corner[..., None], points, points[:, :1]))


def _area(corners: Tensor) -> Tensor:
    """Areas, (...), of polygons, (..., corners, 2), whichever way round they are."""
    return _cross(corners, corners.roll(-1, -2)).sum(-1).abs() / 2


def _inside(points: Tensor, corners: Tensor) -> Tensor:
    """Which points, (P, 4, 2), lie in the quadrilateral, (P, 4, 2), or on its border; (P, 4)."""
    sides = (corners.roll(-1, 1) - corners)[:, None]
    turn = _cross(sides, points[:, :, None] - corners[:, None])
    # On the border rounding decides: a corner too many changes nothing, one too few the area.
    slack = _slack(turn) * sides.square().sum(-1).amax(-1, keepdim=True)
    return (turn >= -slack).all(-1) | (turn <= slack).all(-1)


def _crossings(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Where each side meets each side, (P, 16, 2), and whether they do, (P, 16)."""
    start, other_start = first[:, :, None], second[:, None]
    side, other_side = (x.roll(-1, 1) - x for x in (first, second))
    side, other_side = side[:, :, None], other_side[:, None]
    turn = _cross(side, other_side)
    places = [_cross(other_start - start, x) / turn for x in (other_side, side)]  # 0 to 1 on a side
    low, high = -_slack(turn), 1 + _slack(turn)
    on_first, on_second = ((place >= low) & (place <= high) for place in places)
    crossed = (turn != 0) & on_first & on_second
    points = start + places[0].where(crossed, 0)[..., None] * side
    return points.flatten(1, 2), crossed.flatten(1)


def _slack(values: Tensor) -> float:
    """The relative error that is allowed for."""
    return 8 * torch.finfo(values.dtype).eps


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """Cross product of vectors, (..., 2) both."""
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
