"""BorderAlign: mmcv's ``border_align_forward`` and ``border_align_backward``.

Source: mmcv docs, ``mmcv.ops.BorderAlign``; Qiu et al. 2020, "BorderDet".
"""

import torch
from torch import Tensor

from .bilinear import sample
from .gradients import add_gradients
from .precision import at_least_float32

__all__ = ["border_align_backward", "border_align_forward"]


def border_align_forward(
    input: Tensor, boxes: Tensor, output: Tensor, argmax_idx: Tensor, pool_size: int
) -> None:
    """Greatest of the samples along each border of each box.

    Args:
        input: (B, 4 * C, H, W), floating point: C channels each for the top, left, bottom and
            right border.
        boxes: (B, N, 4) as (x1, y1, x2, y2), in cells.
        output: (B, C, N, 4), overwritten: the greatest samples.
        argmax_idx: (B, C, N, 4), overwritten: which one it is, counted from (x1, y1) on the top
            and left and from (x2, y2) on the bottom and right.
        pool_size: A border has one sample more than this, both ends among them.
    """
    batch, channels, count, _ = output.shape
    start, step = _borders(boxes, pool_size)
    steps = torch.arange(pool_size + 1, device=boxes.device)[:, None]
    x, y = (start[..., None, :] + steps * step[..., None, :]).flatten(2, 3).flatten(0, 1).unbind(-1)
    features = at_least_float32(input).reshape(batch * 4, channels, *input.shape[2:])
    found = sample(features, y, x).reshape(batch, 4, channels, count, pool_size + 1)
    best, index = found.max(-1)
    output.copy_(best.permute(0, 2, 3, 1))
    argmax_idx.copy_(index.permute(0, 2, 3, 1))


def border_align_backward(
    grad_output: Tensor, boxes: Tensor, argmax_idx: Tensor, grad_input: Tensor, pool_size: int
) -> None:
    """Hand each gradient to the cells that the greatest sample was read from.

    Args:
        grad_output: (B, C, N, 4), floating point.
        grad_input: (B, 4 * C, H, W), added to.
        boxes, argmax_idx, pool_size: As in the forward pass.
    """
    start, step = _borders(boxes, pool_size)
    steps = argmax_idx.permute(0, 3, 1, 2)[..., None]  # (B, 4, C, N, 1)
    x, y = (start[:, :, None] + steps * step[:, :, None]).flatten(0, 2).unbind(-1)
    planes = grad_input.flatten(0, 1)[:, None]
    add_gradients(
        lambda features: sample(at_least_float32(features), y, x),
        [torch.zeros_like(planes)],  # of any features: they are sampled linearly
        grad_output.permute(0, 3, 1, 2).flatten(0, 2)[:, None],
        [planes],
    )


def _borders(boxes: Tensor, pool_size: int) -> tuple[Tensor, Tensor]:
    """Where each border begins and the way to its next sample; (B, 4, N, 2) as (x, y) both."""
    low, high = at_least_float32(boxes).unflatten(2, (2, 2)).unbind(2)
    across, down = (high - low) * boxes.new_tensor([1, 0]), (high - low) * boxes.new_tensor([0, 1])
    step = torch.stack([across, down, -across, -down], dim=1) / pool_size
    return torch.stack([low, low, high, high], dim=1), step
