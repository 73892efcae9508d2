"""Precise RoI pooling: mmcv's ``prroi_pool_*``.

The feature map is taken as a surface, bilinear between cells and 0 around them, and a bin's value
is the mean of the surface over it. Bilinear interpolation is a product of one hat function across
and one down, and so is its integral.

Source: mmcv docs, ``mmcv.ops.PrRoIPool``; Jiang et al. 2018, "Acquisition of Localization
Confidence for Accurate Object Detection".
"""

import torch
from torch import Tensor

from .gradients import add_gradients

__all__ = ["prroi_pool_backward", "prroi_pool_coor_backward", "prroi_pool_forward"]


def prroi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Mean of the surface over each bin of each RoI.

    Args:
        input: Features, (B, C, H, W), floating point.
        rois: (R, 5) as (index in the batch, x1, y1, x2, y2) in pixels of the image.
        output: (R, C, pooled_height, pooled_width), overwritten; 0 for a RoI without area.
        pooled_height, pooled_width: Numbers of bins.
        spatial_scale: Cells of the feature map per pixel of the image.
    """
    output.copy_(_pool(input, rois, (pooled_height, pooled_width), spatial_scale))


def prroi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of :func:`prroi_pool_forward` by the features.

    Args:
        grad_output: (R, C, pooled_height, pooled_width), floating point.
        grad_input: (B, C, H, W), added to.

    The others are as in the forward pass.
    """
    bins = (pooled_height, pooled_width)
    add_gradients(
        lambda features: _pool(features, rois, bins, spatial_scale),
        [torch.zeros_like(grad_input)],  # of any features: the mean is linear in them
        grad_output,
        [grad_input],
    )


def prroi_pool_coor_backward(
    output: Tensor,
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    grad_rois: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of :func:`prroi_pool_forward` by the coordinates of the RoIs.

    Args:
        output: Unused: what the forward pass gave.
        grad_output: (R, C, pooled_height, pooled_width), floating point.
        grad_rois: (R, 5), added to; the index in the batch gets 0.

    The others are as in the forward pass.
    """
    bins = (pooled_height, pooled_width)
    add_gradients(
        lambda boxes: _pool(input, boxes, bins, spatial_scale), [rois], grad_output, [grad_rois]
    )


def _pool(features: Tensor, rois: Tensor, bins: tuple[int, int], scale: float) -> Tensor:
    """What :func:`prroi_pool_forward` writes."""
    start, size = rois[:, [2, 1]] * scale, (rois[:, [4, 3]] - rois[:, [2, 1]]).clamp(min=0) * scale
    down = _weights(start[:, 0], size[:, 0], bins[0], features.shape[2])
    across = _weights(start[:, 1], size[:, 1], bins[1], features.shape[3])
    images = rois[:, 0].long().tolist()
    with torch.autocast(features.device.type, enabled=False):  # it would multiply in half precision
        pooled = [  # RoI by RoI, for its whole feature map takes part
            row_weights @ features[image] @ column_weights.T
            for image, row_weights, column_weights in zip(images, down, across, strict=True)
        ]
    return torch.stack(pooled) if pooled else features.new_zeros(0, features.shape[1], *bins)


def _weights(start: Tensor, size: Tensor, bins: int, cells: int) -> Tensor:
    """The part that each cell has in each bin's mean along an axis, (R, bins, cells)."""
    edges = torch.arange(bins + 1, dtype=size.dtype, device=size.device) / bins
    edges = start[:, None] + edges * size[:, None]
    distance = edges[..., None] - torch.arange(cells, dtype=size.dtype, device=size.device)
    distance = distance.clamp(-1, 1)
    integral = distance - distance * distance.abs() / 2  # of the hat, from its middle
    length = (size / bins)[:, None, None]
    return integral.diff(dim=1) / length.where(length > 0, torch.inf)
