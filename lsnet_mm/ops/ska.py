"""SKA, small-kernel aggregation: the dynamic half of the LS convolution (paper, section 3.2).

The operator is registered with torch as ``lsnet_mm::ska``, so that autograd, autocast,
``torch.compile``, ``torch.export`` and DDP all see one opaque op. CUDA tensors go to Triton
kernels where Triton is installed; everything else goes to the portable path.
"""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn

from . import ska_portable

ODD_SQUARES = tuple(size**2 for size in range(1, 64, 2))  # compared, as compilers trace no roots


def ska(x: Tensor, w: Tensor) -> Tensor:
    """Aggregate each position's K x K neighbourhood with that position's own weights.

    ``y[n, c, i, j] = sum_k x[n, c, i + k // K - r, j + k % K - r] * w[n, c % S, k, i, j]`` with
    ``r = K // 2`` and zeros outside the map: one depthwise kernel per position, shared by the
    ``C / S`` channels of a weight set, which are interleaved.

    Args:
        x: Features, (N, C, H, W), floating point, in any memory format. N may be 0.
        w: Weights, (N, S, K * K, H, W) with K odd and C a multiple of S, on the device of ``x``.
            Its dtype may differ from that of ``x``, as autocast leaves them.

    Returns:
        (N, C, H, W) in the dtype and memory format of ``x``. Sums are kept in float32 for
        float16, bfloat16 and float32, in float64 if either operand is float64.

    Raises:
        TypeError: If ``x`` or ``w`` is not a floating-point tensor.
        ValueError: If shapes or devices do not fit together.
    """
    _check(x, w)
    return _ska(x, w)


class SKA(nn.Module):
    """:func:`ska` as a module without parameters, a place to hook or swap it in a network."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Aggregate ``x`` (N, C, H, W) with ``w`` (N, S, K * K, H, W); see :func:`ska`."""
        return ska(x, w)


def _check(x: Tensor, w: Tensor) -> None:
    for name, tensor in (("x", x), ("w", w)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"ska: {name} must be a floating-point tensor, got {got}")
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError(f"ska: x must be (N, C, H, W) with C, H, W >= 1, got {tuple(x.shape)}")
    if w.dim() != 5:
        raise ValueError(f"ska: w must be (N, S, K * K, H, W), got {tuple(w.shape)}")
    if w.device != x.device:
        raise ValueError(f"ska: w must be on the device of x, {x.device}, got {w.device}")
    if w.shape[0] != x.shape[0] or w.shape[3:] != x.shape[2:]:
        raise ValueError(
            f"ska: w must have the N, H, W of x {tuple(x.shape)}, got {tuple(w.shape)}"
        )
    sets, taps = w.shape[1], w.shape[2]
    if sets < 1 or x.shape[1] % sets:
        raise ValueError(
            f"ska: w has {sets} weight sets, which do not divide the {x.shape[1]} channels of x"
        )
    if taps not in ODD_SQUARES:
        raise ValueError(f"ska: w must have K * K taps with K odd (1, 9, 25, ...), got {taps}")


@torch.library.custom_op("lsnet_mm::ska", mutates_args=())
def _ska(x: Tensor, w: Tensor) -> Tensor:
    return ska_portable.forward(x, w)


@torch.library.custom_op("lsnet_mm::ska_backward", mutates_args=())
def _ska_backward(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return ska_portable.backward(grad, x, w)


@_ska.register_kernel("cuda")
def _(x: Tensor, w: Tensor) -> Tensor:
    return _gpu_kernels().forward(x, w)


@_ska_backward.register_kernel("cuda")
def _(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return _gpu_kernels().backward(grad, x, w)


@cache
def _gpu_kernels() -> ModuleType:
    """Triton kernels if Triton is installed, else the portable path, which runs on GPUs too."""
    try:
        from . import ska_triton
    except ImportError:
        return ska_portable
    return ska_triton


@_ska.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    return torch.empty_like(x)


@_ska_backward.register_fake
def _(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(w)


def _save_operands(ctx, inputs: tuple[Tensor, ...], output: object) -> None:
    ctx.save_for_backward(*inputs)


def _first_order(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _ska_backward(grad, *ctx.saved_tensors)


def _second_order(ctx, grad_x: Tensor, grad_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # ska is bilinear: <grad_x, dx> + <grad_w, dw> = <grad, ska(grad_x, w) + ska(x, grad_w)>,
    # whose gradients by x and w are those of ska with the roles of the operands exchanged.
    grad, x, w = ctx.saved_tensors
    by_x, by_w = _ska_backward(grad, grad_x, grad_w)
    return _ska(grad_x, w) + _ska(x, grad_w), by_x, by_w


_ska.register_autograd(_first_order, setup_context=_save_operands)
_ska_backward.register_autograd(_second_order, setup_context=_save_operands)
