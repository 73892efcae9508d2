"""SKA in plain torch: any device, any floating dtype, any memory format.

Maps are taken as one long row, in which a tap is a shift: sums of products are built in place from
shifted views, one pass per tap or, for the weights' gradient, one per channel of a set. Nothing is
unfolded, and the passes run over whole maps even where these are 7 x 7. The weights that would
reach around a row's end are set to zero, in a copy.
"""

from collections.abc import Iterator
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F


def accumulator_dtype(x: Tensor, w: Tensor) -> torch.dtype:
    """Dtype that sums are kept in: float64 for float64 operands, float32 for all others."""
    return torch.promote_types(torch.promote_types(x.dtype, w.dtype), torch.float32)


def forward(x: Tensor, w: Tensor) -> Tensor:
    """``y`` of :func:`lsnet_mm.ops.ska`: shape, dtype and memory format of ``x``."""
    x_format, _ = _formats(x)
    dtype = accumulator_dtype(x, w)
    y = torch.empty_like(x, dtype=dtype, memory_format=x_format)
    ys, xs = (_rows(t, w.shape[1]) for t in (y, x.to(dtype, memory_format=x_format)))
    _sum_products(
        (ys.narrow(3, *out), xs.narrow(3, *tap), wk.narrow(3, *out)) for wk, out, tap in _taps(x, w)
    )
    return _like(x, y)


def backward(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`forward` by ``x`` and ``w`` for ``grad``, the gradient of ``y``."""
    x_format, w_format = _formats(x)
    dtype, sets = accumulator_dtype(x, w), w.shape[1]
    grad_x = torch.empty_like(x, dtype=dtype, memory_format=x_format)
    gs = _rows(grad.to(dtype, memory_format=x_format), sets)
    gxs = _rows(grad_x, sets)
    _sum_products(
        (gxs.narrow(3, *tap), gs.narrow(3, *out), wk.narrow(3, *out))
        for wk, out, tap in _taps(x, w)
    )

    size, width, length = isqrt(w.shape[2]), x.shape[3], gs.shape[3]
    reach = size // 2 * (width + 1)
    row = x.to(dtype, memory_format=x_format).flatten(2).unsqueeze(2)  # 4-d: padding keeps formats
    xs = _rows(F.pad(row, (reach, reach)), sets)
    windows = xs.unfold(3, length + size - 1, width).unfold(4, length, 1)
    grad_w = torch.empty_like(w, dtype=dtype, memory_format=w_format)
    taps = grad_w.flatten(3).unflatten(2, (size, size))
    by_channel = zip(gs.unbind(1), windows.unbind(1), strict=True)
    _sum_products((taps, g[:, :, None, None], window) for g, window in by_channel)
    _clear_wrapped(grad_w)
    return _like(x, grad_x), _like(w, grad_w)


def _sum_products(terms: Iterator[tuple[Tensor, Tensor, Tensor]]) -> None:
    """For each ``(total, a, b)`` add ``a * b`` to ``total``, which the first one initialises."""
    total, a, b = next(terms)
    torch.mul(a, b, out=total)
    for total, a, b in terms:
        total.addcmul_(a, b)


def _formats(x: Tensor) -> tuple[torch.memory_format, torch.memory_format]:
    """Memory formats to compute in, of maps like ``x`` and of weights."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last, torch.channels_last_3d
    return torch.contiguous_format, torch.contiguous_format


def _like(x: Tensor, result: Tensor) -> Tensor:
    """``result`` in the dtype and strides that ``empty_like(x)`` has; itself if it has them."""
    if result.dtype == x.dtype and result.stride() == x.stride():
        return result
    return torch.empty_like(x).copy_(result)


def _rows(x: Tensor, sets: int) -> Tensor:
    """View (N, C, H, W) as (N, C / sets, sets, H * W): channel ``c`` is of set ``c % sets``."""
    return x.flatten(2).unflatten(1, (x.shape[1] // sets, sets))


def _taps(x: Tensor, w: Tensor) -> Iterator[tuple[Tensor, tuple[int, int], tuple[int, int]]]:
    """Yield for each tap its weights, the span of outputs it reaches and that of its inputs.

    The weights are (N, 1, sets, H * W), spans start and length. The centre comes first: it
    reaches all outputs. Taps that fall outside the map for every output are left out.
    """
    w = w.to(accumulator_dtype(x, w), copy=True, memory_format=_formats(x)[1])
    _clear_wrapped(w)
    taps, height, width = w.shape[2:]
    size, length = isqrt(taps), height * width
    weights = w.flatten(3).unsqueeze(1).unbind(3)
    for k in sorted(range(taps), key=lambda k: k != taps // 2):
        shift = (k // size - size // 2) * width + k % size - size // 2
        if abs(shift) < length:
            inside = length - abs(shift)
            yield weights[k], (max(-shift, 0), inside), (max(shift, 0), inside)


def _clear_wrapped(w: Tensor) -> None:
    """Zero what ``w`` (N, sets, K * K, H, W) says of columns left and right of the map."""
    size, width = isqrt(w.shape[2]), w.shape[4]
    by_column = w.unflatten(2, (size, size)).unbind(3)
    for dj in range(1, size // 2 + 1):
        by_column[size // 2 - dj][..., :dj] = 0
        by_column[size // 2 + dj][..., max(width - dj, 0) :] = 0
