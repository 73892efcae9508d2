"""Temporal interlacing: mmcv's ``tin_shift_forward`` and ``tin_shift_backward``.

Source: mmcv docs, ``mmcv.ops.TINShift``; Shao et al. 2020, "Temporal Interlacing Network".
"""

import torch
from torch import Tensor

__all__ = ["tin_shift_backward", "tin_shift_forward"]


def tin_shift_forward(input: Tensor, shift: Tensor, output: Tensor) -> None:
    """Move groups of channels along time.

    Args:
        input: (B, T, C, H * W), any dtype.
        shift: (B, G) int: by how many frames each group of C // G channels moves.
        output: Of the shape of ``input``, overwritten; 0 where nothing moved to.
    """
    frames, channels = input.shape[1:3]
    moves = shift.long().repeat_interleave(channels // shift.shape[1], dim=1)  # (B, C)
    source = torch.arange(frames, device=input.device)[:, None] - moves[:, None]  # (B, T, C)
    there = ((source >= 0) & (source < frames))[..., None]
    index = source.clamp(0, frames - 1)[..., None].expand_as(input)
    output.copy_(input.gather(1, index) * there)


def tin_shift_backward(grad_output: Tensor, shift: Tensor, grad_input: Tensor) -> None:
    """Move gradients back: :func:`tin_shift_forward` by the opposite shifts.

    Args:
        grad_output: (B, T, C, H * W).
        shift: As in the forward pass.
        grad_input: Of the shape of ``grad_output``, overwritten.
    """
    tin_shift_forward(grad_output, -shift, grad_input)
