"""RoIAlign of rotated boxes: mmcv's ``roi_align_rotated_forward`` and ``_backward``.

Source: mmcv docs, ``mmcv.ops.RoIAlignRotated``.
"""

import torch
from torch import Tensor

from .bilinear import RoISamples
from .gradients import add_gradients
from .precision import at_least_float32

__all__ = ["roi_align_rotated_backward", "roi_align_rotated_forward"]


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Mean of bilinear samples of each bin of each RoI.

    Args:
        input: Features, (B, C, H, W), floating point.
        rois: (R, 6) as (index in the batch, centre x, centre y, width, height, angle), in pixels
            of the image and radians.
        output: (R, C, pooled_height, pooled_width), overwritten.
        pooled_height, pooled_width: Numbers of bins along a RoI's own axes.
        spatial_scale: Cells of the feature map per pixel of the image.
        sampling_ratio: Samples per bin and axis. 0: about one per cell, fixed for each RoI.
        aligned: Whether cell centres are at whole coordinates. If not, RoIs are taken to be at
            least one cell wide and high.
        clockwise: Whether positive angles turn the box clockwise, as the image is seen.
    """
    bins = (pooled_height, pooled_width)
    samples, y, x = _samples(rois, bins, spatial_scale, sampling_ratio, aligned, clockwise)
    output.copy_(samples.average(at_least_float32(input), rois[:, 0], y, x))


def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Hand each bin's gradient to the cells that its samples were read from.

    Args:
        grad_output: (R, C, pooled_height, pooled_width), floating point.
        grad_input: (B, C, H, W), added to.

    The others are as in the forward pass.
    """
    bins = (pooled_height, pooled_width)
    samples, y, x = _samples(rois, bins, spatial_scale, sampling_ratio, aligned, clockwise)
    add_gradients(
        lambda features: samples.average(at_least_float32(features), rois[:, 0], y, x),
        [torch.zeros_like(grad_input)],  # of any features: they are sampled linearly
        grad_output,
        [grad_input],
    )


def _samples(
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> tuple[RoISamples, Tensor, Tensor]:
    """The samples and their positions in cells, (S,) as y and as x."""
    rois = at_least_float32(rois)
    centre = rois[:, [2, 1]] * scale - (0.5 if aligned else 0.0)
    size = rois[:, [4, 3]] * scale
    if not aligned:
        size = size.clamp(min=1)
    samples = RoISamples(size, bins, sampling_ratio)
    angle = rois[samples.roi, 5] * (-1 if clockwise else 1)
    own_y, own_x = samples.y - size[samples.roi, 0] / 2, samples.x - size[samples.roi, 1] / 2
    y = own_y * angle.cos() - own_x * angle.sin() + centre[samples.roi, 0]
    x = own_y * angle.sin() + own_x * angle.cos() + centre[samples.roi, 1]
    return samples, y, x
