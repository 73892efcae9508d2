"""SKA's Triton kernels: forward, and both gradients in one launch.

A program handles a tile of positions of a few weight sets with all their channels, so each weight
is read once for its whole set. Tiles are (channels of a set, sets, positions): positions are
neighbours in memory in the contiguous format, sets (hence channels) in channels_last, and the
compiler coalesces along whichever has stride 1. Offsets are 64 bits wide: a batch of feature maps
may pass 2^31 elements.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .ska_portable import accumulator_dtype

TILE = 128  # positions times weight sets of one program


def forward(x: Tensor, w: Tensor) -> Tensor:
    """``y`` of :func:`lsnet_mm.ops.ska`: shape, dtype and memory format of ``x``."""
    y = torch.empty_like(x)
    _launch(_forward_kernel, x, w, (x, w, y))
    return y


def backward(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`forward` by ``x`` and ``w`` for ``grad``, the gradient of ``y``."""
    grad_x, grad_w = torch.empty_like(x), torch.empty_like(w)
    _launch(_backward_kernel, x, w, (grad, x, w, grad_x, grad_w))
    return grad_x, grad_w


def _launch(kernel: triton.JITFunction, x: Tensor, w: Tensor, tensors: tuple[Tensor, ...]) -> None:
    batch, channels, height, width = x.shape
    sets, taps = w.shape[1:3]
    # Neighbouring threads take neighbouring channels where these are adjacent in memory.
    channels_last = x.stride(1) == 1 and width > 1
    tile_sets = min(triton.next_power_of_2(sets), 32) if channels_last else 1
    tile_positions = TILE // tile_sets
    grid = batch * triton.cdiv(sets, tile_sets) * triton.cdiv(height * width, tile_positions)
    if grid == 0:
        return
    per_set = channels // sets
    dtype = tl.float64 if accumulator_dtype(x, w) == torch.float64 else tl.float32
    strides = [stride for tensor in tensors for stride in tensor.stride()]
    with torch.cuda.device_of(x):
        kernel[(grid,)](
            *tensors,
            *strides,
            sets,
            height,
            width,
            PER_SET=per_set,
            PER_SET_TILE=triton.next_power_of_2(per_set),
            SIZE=round(taps**0.5),
            TILE_SETS=tile_sets,
            TILE_POSITIONS=tile_positions,
            DTYPE=dtype,
        )


@triton.jit
def _tile(
    sets,
    height,
    width,
    PER_SET: tl.constexpr,
    PER_SET_TILE: tl.constexpr,
    TILE_SETS: tl.constexpr,
    TILE_POSITIONS: tl.constexpr,
):
    """Image, channel, set, row and column indices of this program, and its mask."""
    program = tl.program_id(0)
    position_tiles = tl.cdiv(height * width, TILE_POSITIONS)
    set_tiles = tl.cdiv(sets, TILE_SETS)
    position = (program % position_tiles) * TILE_POSITIONS + tl.arange(0, TILE_POSITIONS)
    image = (program // position_tiles // set_tiles).to(tl.int64)
    group = (program // position_tiles % set_tiles) * TILE_SETS + tl.arange(0, TILE_SETS)
    member = tl.arange(0, PER_SET_TILE)[:, None, None]
    group = group[None, :, None]
    position = position[None, None, :]
    channel = (member * sets + group).to(tl.int64)
    row, column = position // width, position % width
    in_group = (group < sets) & (row < height)
    return image, channel, group.to(tl.int64), row, column, in_group & (member < PER_SET), in_group


@triton.jit
def _offset(image, plane, row, column, by_image, by_plane, by_row, by_column):
    return (
        image * by_image
        + plane * by_plane
        + row.to(tl.int64) * by_row
        + column.to(tl.int64) * by_column
    )


@triton.jit
def _inside(row, column, height, width):
    return (row >= 0) & (row < height) & (column >= 0) & (column < width)


@triton.jit
def _forward_kernel(
    x, w, y,
    x_n, x_c, x_h, x_w,
    w_n, w_s, w_k, w_h, w_w,
    y_n, y_c, y_h, y_w,
    sets, height, width,
    PER_SET: tl.constexpr,
    PER_SET_TILE: tl.constexpr,
    SIZE: tl.constexpr,
    TILE_SETS: tl.constexpr,
    TILE_POSITIONS: tl.constexpr,
    DTYPE: tl.constexpr,
):  # fmt: skip
    image, channel, group, row, column, in_tile, in_group = _tile(
        sets, height, width, PER_SET, PER_SET_TILE, TILE_SETS, TILE_POSITIONS
    )
    total = tl.zeros((PER_SET_TILE, TILE_SETS, TILE_POSITIONS), DTYPE)
    weights = w + _offset(image, group, row, column, w_n, w_s, w_h, w_w)
    for k in tl.static_range(SIZE * SIZE):
        i, j = row + k // SIZE - SIZE // 2, column + k % SIZE - SIZE // 2
        weight = tl.load(weights + k * w_k, mask=in_group, other=0).to(DTYPE)
        value = tl.load(
            x + _offset(image, channel, i, j, x_n, x_c, x_h, x_w),
            mask=in_tile & _inside(i, j, height, width),
            other=0,
        )
        total += value.to(DTYPE) * weight
    tl.store(y + _offset(image, channel, row, column, y_n, y_c, y_h, y_w), total, mask=in_tile)


@triton.jit
def _backward_kernel(
    grad, x, w, grad_x, grad_w,
    g_n, g_c, g_h, g_w,
    x_n, x_c, x_h, x_w,
    w_n, w_s, w_k, w_h, w_w,
    gx_n, gx_c, gx_h, gx_w,
    gw_n, gw_s, gw_k, gw_h, gw_w,
    sets, height, width,
    PER_SET: tl.constexpr,
    PER_SET_TILE: tl.constexpr,
    SIZE: tl.constexpr,
    TILE_SETS: tl.constexpr,
    TILE_POSITIONS: tl.constexpr,
    DTYPE: tl.constexpr,
):  # fmt: skip
    image, channel, group, row, column, in_tile, in_group = _tile(
        sets, height, width, PER_SET, PER_SET_TILE, TILE_SETS, TILE_POSITIONS
    )
    here = tl.load(
        grad + _offset(image, channel, row, column, g_n, g_c, g_h, g_w), mask=in_tile, other=0
    ).to(DTYPE)
    total = tl.zeros((PER_SET_TILE, TILE_SETS, TILE_POSITIONS), DTYPE)
    for k in tl.static_range(SIZE * SIZE):
        # The weight of tap k met x[+d] on its way to y here ...
        i, j = row + k // SIZE - SIZE // 2, column + k % SIZE - SIZE // 2
        value = tl.load(
            x + _offset(image, channel, i, j, x_n, x_c, x_h, x_w),
            mask=in_tile & _inside(i, j, height, width),
            other=0,
        )
        tl.store(
            grad_w + _offset(image, group, row, column, gw_n, gw_s, gw_h, gw_w) + k * gw_k,
            tl.sum(here * value.to(DTYPE), axis=0, keep_dims=True),
            mask=in_group,
        )
        # ... and x here went through tap k to y[-d].
        i, j = row - k // SIZE + SIZE // 2, column - k % SIZE + SIZE // 2
        inside = _inside(i, j, height, width)
        there = tl.load(
            grad + _offset(image, channel, i, j, g_n, g_c, g_h, g_w),
            mask=in_tile & inside,
            other=0,
        )
        weight = tl.load(
            w + _offset(image, group, i, j, w_n, w_s, w_h, w_w) + k * w_k,
            mask=in_group & inside,
            other=0,
        )
        total += there.to(DTYPE) * weight.to(DTYPE)
    tl.store(
        grad_x + _offset(image, channel, row, column, gx_n, gx_c, gx_h, gx_w), total, mask=in_tile
    )
