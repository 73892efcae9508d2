"""What the backward passes of RoIPool and RoIAlign share."""

from collections.abc import Iterable

import torch
from torch import Tensor


def add_to_cells(grad_input: Tensor, rois: Tensor, parts: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add gradients of pooled values to the cells of the feature maps they came from.

    Args:
        grad_input: (B, C, H, W), floating point, added to.
        rois: (R, 5), whose first column is the index in the batch.
        parts: Pairs of cells, (R, C, PH, PW) int64 as ``y * W + x``, and gradients of that shape.
    """
    channels, height, width = grad_input.shape[1:]
    # Summed in float32: of many half-precision addends the small ones would be lost.
    dtype = torch.promote_types(grad_input.dtype, torch.float32)
    total = grad_input.new_zeros(grad_input.shape, dtype=dtype)
    image, channel = rois[:, 0].long(), torch.arange(channels, device=rois.device)
    plane = (image[:, None] * channels + channel)[:, :, None, None]
    for cells, grads in parts:
        index = plane * (height * width) + cells
        total.view(-1).index_add_(0, index.flatten(), grads.to(dtype).flatten())
    grad_input += total
