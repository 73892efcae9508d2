"""Point-wise spatial attention masks: mmcv's ``psamask_forward`` and ``psamask_backward``.

Source: mmcv docs, ``mmcv.ops.PSAMask``; Zhao et al. 2018, "PSANet".
"""

import torch
from torch import Tensor

__all__ = ["psamask_backward", "psamask_forward"]

COLLECT = 0  # psa_type; 1 is distribute


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Turn masks that are relative to each cell into attention between cells.

    Args:
        input: (B, h_mask * w_mask, h_feature, w_feature), any dtype: for each cell a mask around
            it.
        output: (B, h_feature * w_feature, h_feature, w_feature), overwritten. Collecting, its
            second axis runs over the cells that a mask covers and the last two over the masks;
            distributing, it is the other way round. Cells outside a mask get 0.
        psa_type: 0 collect, 1 distribute.
        num_: B.
        h_feature, w_feature: Size of the feature map.
        h_mask, w_mask: Size of a mask.
        half_h_mask, half_w_mask: Row and column of a mask that lie on its own cell.
    """
    source, covered = _places(
        (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask), input.device
    )
    masks = input.reshape(num_, h_mask * w_mask, -1)
    found = masks.gather(1, source.expand(num_, -1, -1)) * covered  # (B, covered cell, mask)
    found = found if psa_type == COLLECT else found.transpose(1, 2)
    output.copy_(found.reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Hand each gradient to the place of the mask that the attention was taken from.

    Args:
        grad_output: (B, h_feature * w_feature, h_feature, w_feature).
        grad_input: (B, h_mask * w_mask, h_feature, w_feature), added to.

    The others are as in the forward pass.
    """
    source, covered = _places(
        (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask), grad_output.device
    )
    grad = grad_output.reshape(num_, h_feature * w_feature, -1)
    grad = grad if psa_type == COLLECT else grad.transpose(1, 2)
    # No place is the source of two cells, so that nothing is rounded on the way.
    total = torch.zeros_like(grad_input).reshape(num_, h_mask * w_mask, -1)
    total.scatter_add_(1, source.expand(num_, -1, -1), grad * covered)
    grad_input += total.reshape(grad_input.shape)


def _places(
    size: tuple[int, int], mask: tuple[int, int], middle: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The place in cell j's mask that lies on cell i, and whether there is one; (i, j) both."""
    rows, row_covered = _offsets(size[0], mask[0], middle[0], device)
    columns, column_covered = _offsets(size[1], mask[1], middle[1], device)
    cells = size[0] * size[1]
    source = rows[:, None, :, None] * mask[1] + columns[:, None]
    covered = row_covered[:, None, :, None] & column_covered[:, None]
    return source.reshape(cells, cells), covered.reshape(cells, cells)


def _offsets(size: int, mask: int, middle: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """:func:`_places` along one axis, (size, size) both; 0 where a mask does not reach."""
    cells = torch.arange(size, device=device)
    offset = cells[:, None] - cells + middle
    covered = (offset >= 0) & (offset < mask)
    return offset * covered, covered
