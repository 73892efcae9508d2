"""Resampling with a filter: mmcv's ``upfirdn2d``, which mmcv calls on GPUs only.

Source: mmcv docs, ``mmcv.ops.upfirdn2d``.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .precision import at_least_float32

__all__ = ["upfirdn2d"]


def upfirdn2d(
    input: Tensor,
    filter: Tensor,
    upx: int,
    upy: int,
    downx: int,
    downy: int,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    flip: bool,
    gain: float,
) -> Tensor:
    """Spread the pixels, pad, filter and keep some of the pixels, channel by channel.

    Args:
        input: (B, C, H, W), floating point.
        filter: (FH, FW), floating point.
        upx, upy: Each pixel is followed by this number less one of zeros, across and down.
        downx, downy: Every so many pixels one is kept.
        padx0, padx1, pady0, pady1: Zeros on the left, right, top and bottom; negative: pixels that
            are cut off.
        flip: Whether to correlate with the filter instead of convolving.
        gain: Factor of the result.

    Returns:
        (B, C, (H * upy + pady0 + pady1 - FH) // downy + 1, likewise across), in the input's dtype.
    """
    batch, channels, height, width = input.shape
    values = at_least_float32(input)
    spread = values.new_zeros(batch, channels, height * upy, width * upx)
    spread[:, :, ::upy, ::upx] = values
    padded = pad(spread, [padx0, padx1, pady0, pady1])
    kernel = (filter if flip else filter.flip(0, 1)).to(values.dtype) * gain
    kernel = kernel.expand(channels, 1, -1, -1)
    with torch.autocast(input.device.type, enabled=False):  # it would filter in half precision
        filtered = conv2d(padded, kernel, stride=(downy, downx), groups=channels)
    return filtered.to(input.dtype)
