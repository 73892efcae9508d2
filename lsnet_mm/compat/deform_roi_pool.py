"""Deformable RoI pooling: mmcv's ``deform_roi_pool_forward`` and ``deform_roi_pool_backward``.

Source: mmcv docs, ``mmcv.ops.DeformRoIPool``; Dai et al. 2017, "Deformable Convolutional Networks".
"""

from torch import Tensor

from .bilinear import RoISamples
from .gradients import add_gradients
from .precision import at_least_float32

__all__ = ["deform_roi_pool_backward", "deform_roi_pool_forward"]


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Mean of bilinear samples of each bin of each RoI, bins being moved.

    Args:
        input: Features, (B, C, H, W), floating point.
        rois: (R, 5) as (index in the batch, x1, y1, x2, y2) in pixels of the image.
        offset: (R, 2, pooled_height, pooled_width), how far bins move as (x, y), or empty: not at
            all.
        output: (R, C, pooled_height, pooled_width), overwritten.
        pooled_height, pooled_width: Numbers of bins.
        spatial_scale: Cells of the feature map per pixel of the image.
        sampling_ratio: Samples per bin and axis. 0: about one per cell, fixed for each RoI.
        gamma: The part of a RoI's size that an offset of 1 stands for.
    """
    bins = (pooled_height, pooled_width)
    output.copy_(_pool(input, offset, rois, bins, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Gradients of :func:`deform_roi_pool_forward`.

    Args:
        grad_output: (R, C, pooled_height, pooled_width), floating point.
        grad_input, grad_offset: Of the shapes of ``input`` and ``offset``, added to.

    The others are as in the forward pass.
    """
    bins = (pooled_height, pooled_width)
    add_gradients(
        lambda *moving: _pool(*moving, rois, bins, spatial_scale, sampling_ratio, gamma),
        (input, offset),
        grad_output,
        (grad_input, grad_offset),
    )


def _pool(
    input: Tensor,
    offset: Tensor,
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """What :func:`deform_roi_pool_forward` writes, in at least float32."""
    rois = at_least_float32(rois)
    start, size = rois[:, [2, 1]] * scale - 0.5, (rois[:, [4, 3]] - rois[:, [2, 1]]) * scale
    samples = RoISamples(size, bins, sampling_ratio)
    y, x = samples.y + start[samples.roi, 0], samples.x + start[samples.roi, 1]
    # Without bins to move: zeros, which keeps the (empty) offsets part of the computation.
    moves = at_least_float32(offset) if offset.numel() else offset.sum().expand(len(rois), 2, *bins)
    moves = gamma * moves.transpose(0, 1).flatten(1)[:, samples.bin]
    x, y = x + moves[0] * size[samples.roi, 1], y + moves[1] * size[samples.roi, 0]
    return samples.average(at_least_float32(input), rois[:, 0], y, x)
