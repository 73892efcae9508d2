"""Convolution at chosen cells: mmcv's ``masked_im2col_forward`` and ``masked_col2im_forward``.

mmcv's ``MaskedConv2d`` has no gradients: these have no backward pass.

Source: mmcv docs, ``mmcv.ops.MaskedConv2d``.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["masked_col2im_forward", "masked_im2col_forward"]


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Unfold the neighbourhoods of chosen cells.

    Args:
        im: (1, C, H, W), any dtype.
        mask_h_idx, mask_w_idx: (N,) int64, rows and columns of the chosen cells of the output.
        col: (C * kernel_h * kernel_w, N), overwritten.
        kernel_h, kernel_w: Size of a neighbourhood.
        pad_h, pad_w: Zeros on each side.
    """
    padded = pad(im[0], [pad_w, pad_w, pad_h, pad_h])
    down, across = (torch.arange(n, device=im.device) for n in (kernel_h, kernel_w))
    rows, columns = down[:, None, None] + mask_h_idx, across[:, None] + mask_w_idx
    col.copy_(padded[:, rows, columns].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Put values at chosen cells.

    Args:
        col: (channels, N), any dtype.
        mask_h_idx, mask_w_idx: (N,) int64, rows and columns of the chosen cells.
        im: (1, channels, height, width), written at those cells, left as it is at the others.
        height, width, channels: As ``im`` has them.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)
