"""RoIPool: mmcv's ``roi_pool_forward`` and ``roi_pool_backward``.

mmcv's rule is its own. A RoI spans ``[x1 * scale, (x2 + 1) * scale)``, unrounded; it is cut into
equal bins, and a bin takes every cell of the feature map that it touches. torchvision's operator
rounds the RoI to whole cells first.

Source: mmcv docs, ``mmcv.ops.RoIPool``.
"""

import torch
from torch import Tensor

from .precision import at_least_float32
from .scatter import add_to_cells

__all__ = ["roi_pool_backward", "roi_pool_forward"]


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Maximum of each bin of each RoI.

    Args:
        input: Features, (B, C, H, W), floating point.
        rois: (R, 5) as (index in the batch, x1, y1, x2, y2) in pixels of the image.
        output: (R, C, PH, PW), overwritten: the maxima; 0 where a bin holds no cell, as do all
            bins of a RoI without width or height.
        argmax: (R, C, PH, PW) int32, overwritten: cell ``y * W + x`` of the maximum, the first in
            this order if there are several; -1 where a bin holds no cell.
        pooled_height: PH, the number of bins down.
        pooled_width: PW, the number of bins across.
        spatial_scale: Cells of the feature map per pixel of the image.
    """
    height, width = input.shape[2:]
    output.zero_()
    argmax.fill_(-1)
    low, high = _extent(at_least_float32(rois), spatial_scale)
    x_start, x_end = _bins(low[:, 0], high[:, 0], pooled_width, width)
    y_start, y_end = _bins(low[:, 1], high[:, 1], pooled_height, height)
    empty = (y_end <= y_start)[:, :, None] | (x_end <= x_start)[:, None]  # (R, PH, PW)
    empty |= (high <= low).any(1)[:, None, None]
    images = input.permute(0, 2, 3, 1).contiguous()  # fastest with the channels side by side
    for roi in (~empty).flatten(1).any(1).nonzero().flatten().tolist():
        top, bottom = int(y_start[roi, 0]), int(y_end[roi, -1])
        columns = images[int(rois[roi, 0]), top:bottom].transpose(0, 1)  # (W, rows, C)
        # Across, then down: of equal maxima this leaves the first in the order of the cells.
        best, x = _max_of_bins(columns, x_start[roi], x_end[roi])  # (PW, rows, C)
        best, y = _max_of_bins(best.transpose(0, 1), y_start[roi] - top, y_end[roi] - top)
        cell = (y + top) * width + x.transpose(0, 1).gather(0, y)  # (PH, PW, C)
        output[roi] = best.permute(2, 0, 1).masked_fill(empty[roi], 0)
        argmax[roi] = cell.permute(2, 0, 1).masked_fill(empty[roi], -1).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Hand each bin's gradient to the cell its maximum came from.

    Args:
        grad_output: (R, C, PH, PW), floating point.
        rois, argmax: As in the forward pass.
        grad_input: (B, C, H, W), added to.
        pooled_height, pooled_width, spatial_scale: Unused, ``argmax`` says it all; part of the
            signature that mmcv calls.
    """
    cells = argmax.long().clamp(min=0)
    add_to_cells(grad_input, rois, [(cells, grad_output * (argmax >= 0))])


def _extent(rois: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Where each RoI begins and ends on the feature map, (R, 2) as (x, y) both."""
    return rois[:, 1:3] * scale, (rois[:, 3:5] + 1) * scale


def _bins(low: Tensor, high: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """First cell and the one past the last of each bin along an axis, (R, count) int64 both.

    Args:
        low: (R,), where the RoIs begin.
        high: (R,), where they end.
        count: Number of bins.
        size: Cells that there are along the axis.
    """
    step = ((high - low) / count)[:, None]
    bins = torch.arange(count, device=low.device)
    start = (bins * step + low[:, None]).floor().clamp(0, size)
    end = ((bins + 1) * step + low[:, None]).ceil().clamp(0, size)
    return start.long(), end.long()


def _max_of_bins(values: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of each bin along the first axis of three and where it is, (bins, ..., ...) both.

    Bins, (bins,) ``start`` to ``end``, are padded to equal length by repeating their last cell,
    which changes neither the maximum nor its first place. What an empty bin gives has no meaning.
    """
    longest = max(int((end - start).max()), 1)
    steps = torch.arange(longest, device=start.device)
    cells = torch.minimum(start[:, None] + steps, end[:, None] - 1).clamp(min=0)
    best, step = values[cells].max(1)
    return best, (start[:, None, None] + step).clamp(max=len(values) - 1)
