"""Bias and leaky ReLU in one: mmcv's ``fused_bias_leakyrelu``, which mmcv calls on GPUs only.

Source: mmcv docs, ``mmcv.ops.fused_bias_leakyrelu``.
"""

import torch
from torch import Tensor

__all__ = ["fused_bias_leakyrelu"]


def fused_bias_leakyrelu(
    input: Tensor, bias: Tensor, empty: Tensor, act: int, grad: int, alpha: float, scale: float
) -> Tensor:
    """Add a bias, then scale: what is negative by ``alpha * scale``, the rest by ``scale``.

    Args:
        input: (B, C, ...), floating point; of the gradient (``grad=1``) the gradient by the output.
        bias: (C,), or (0,): none.
        empty: Of the gradient what the forward pass gave: its sign decides. Else unused.
        act: 3, leaky ReLU, the only one that mmcv asks for.
        grad: 0 for the values, 1 for the gradient by the input, also for the gradient of that.
        alpha: Slope of the negative side.
        scale: Factor of everything.

    Returns:
        Of the shape and dtype of ``input``.
    """
    if bias.numel():
        input = input + bias.view(-1, *[1] * (input.dim() - 2))
    sign = empty if grad else input
    return torch.where(sign > 0, input, input * alpha) * scale
