"""Non-maximum suppression of lanes: mmcv's ``line_nms_forward``.

Source: mmcv docs, ``mmcv.ops.line_nms``; Zheng et al. 2022, "CLRNet".
"""

import torch
from torch import Tensor

from .precision import at_least_float32

__all__ = ["line_nms_forward"]

ROW, LENGTH, POINTS = 2, 4, 5  # columns of a lane: its first row, its number of rows, its points


def line_nms_forward(
    boxes: Tensor, scores: Tensor, thresh: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Lanes that are not close to a better kept one.

    Two lanes are close if their mean distance across, over the rows that both have, is below the
    threshold. Two lanes that begin before the first row are never close.

    Args:
        boxes: Lanes, (N, 5 + P), floating point: in column 2 the first row, from 0 to 1 over the
            P rows, in column 4 the number of rows, then the position across at each row.
        scores: (N,), floating point.
        thresh: Greatest distance, in the unit of the positions.
        top_k: Greatest number of lanes to keep.

    Returns:
        The indices of the kept lanes, best score first, followed by zeros, (N,) int64; their
        number, () int64; and for each lane the number of the kept one that it is or went for,
        from 1, or 0 if it came after the last that was kept, (N,) int64.
    """
    lanes = at_least_float32(boxes)
    start = (lanes[:, ROW] * (lanes.shape[1] - POINTS - 1) + 0.5).long()
    end = start + lanes[:, LENGTH].long()
    rows = torch.arange(lanes.shape[1] - POINTS, device=lanes.device)
    used = (rows >= start[:, None]) & (rows < end[:, None])
    left = scores.argsort(descending=True, stable=True)
    keep, parent = torch.zeros_like(left), torch.zeros_like(left)
    kept = 0
    while len(left) and kept < top_k:
        best, kept = left[0], kept + 1
        keep[kept - 1] = best
        both = used[best] & used[left]
        distance = (lanes[best, POINTS:] - lanes[left, POINTS:]).abs().where(both, 0).sum(1)
        goes = (distance < thresh * both.sum(1)) & ((start[best] >= 0) | (start[left] >= 0))
        goes[0] = True
        parent[left[goes]] = kept
        left = left[~goes]
    return keep, torch.tensor(kept, device=keep.device), parent
