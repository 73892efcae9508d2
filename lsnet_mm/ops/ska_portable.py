"""SKA in plain torch: any device, any floating dtype, any memory format.

One pass over the output per kernel tap, in place and on shifted views: nothing is padded or
unfolded, so the extra memory is one accumulator at most.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

Window = tuple[slice, slice]


def accumulator_dtype(x: Tensor, w: Tensor) -> torch.dtype:
    """Dtype that sums are kept in: float64 for float64 operands, float32 for all others."""
    return torch.promote_types(torch.promote_types(x.dtype, w.dtype), torch.float32)


def forward(x: Tensor, w: Tensor) -> Tensor:
    """``y`` of :func:`lsnet_mm.ops.ska`: shape, dtype and memory format of ``x``."""
    dtype = accumulator_dtype(x, w)
    y = torch.zeros_like(x, dtype=dtype)
    xs, ys = (_by_set(t, w.shape[1]) for t in (x.to(dtype), y))
    for k, out, tap in _taps(w):
        ys[(..., *out)].addcmul_(xs[(..., *tap)], _tap_weight(w, k, out, dtype))
    return y.to(x.dtype)


def backward(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`forward` by ``x`` and ``w`` for ``grad``, the gradient of ``y``."""
    dtype = accumulator_dtype(x, w)
    grad_x, grad_w = torch.zeros_like(x, dtype=dtype), torch.zeros_like(w)
    gs, xs, gxs = (_by_set(t, w.shape[1]) for t in (grad.to(dtype), x.to(dtype), grad_x))
    for k, out, tap in _taps(w):
        gxs[(..., *tap)].addcmul_(gs[(..., *out)], _tap_weight(w, k, out, dtype))
        grad_w[(slice(None), slice(None), k, *out)] = (gs[(..., *out)] * xs[(..., *tap)]).sum(1)
    return grad_x.to(x.dtype), grad_w


def _by_set(x: Tensor, sets: int) -> Tensor:
    """View (N, C, H, W) as (N, C / sets, sets, H, W): channel ``c`` is of set ``c % sets``."""
    return x.unflatten(1, (x.shape[1] // sets, sets))


def _tap_weight(w: Tensor, k: int, out: Window, dtype: torch.dtype) -> Tensor:
    """Weights of tap ``k`` in the window ``out``, (N, 1, sets, h, w)."""
    return w[(slice(None), slice(None), k, *out)].to(dtype).unsqueeze(1)


def _taps(w: Tensor) -> Iterator[tuple[int, Window, Window]]:
    """Yield each tap's index, the window of outputs it reaches, and the window of inputs it reads.

    Taps that fall outside the map for every output are left out: that is the zero padding.
    """
    taps, height, width = w.shape[2:]
    size = round(taps**0.5)
    for k in range(taps):
        di, dj = k // size - size // 2, k % size - size // 2
        if abs(di) < height and abs(dj) < width:
            out = _window(-di, height), _window(-dj, width)
            tap = _window(di, height), _window(dj, width)
            yield k, out, tap


def _window(shift: int, length: int) -> slice:
    """Positions of ``range(length)`` that are still inside after moving back by ``shift``."""
    return slice(max(shift, 0), length + min(shift, 0))
