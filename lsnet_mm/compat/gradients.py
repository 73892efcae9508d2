"""Backward passes of ops whose forward pass is a differentiable composition."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def add_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    grad_output: Tensor,
    grads: Sequence[Tensor],
) -> None:
    """Add the gradients of ``function(*inputs)`` by each input to what mmcv holds for them.

    The function is computed again: mmcv keeps the inputs of an op between its two passes, and not
    the graph of what the op does inside.

    Args:
        function: Differentiable; gives one tensor.
        inputs: Floating point.
        grad_output: Gradient by the function's result, of its shape.
        grads: One tensor per input and of its shape, added to.
    """
    if not grad_output.numel():  # of an empty result, which may not even depend on the inputs
        return
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        output = function(*leaves)
    found = torch.autograd.grad(output, leaves, grad_output.to(output.dtype))
    for grad, more in zip(grads, found, strict=True):
        grad += more
