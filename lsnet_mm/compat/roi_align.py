"""RoIAlign: mmcv's ``roi_align_forward`` and ``roi_align_backward``.

Average pooling is torchvision's operator, which follows the same rule; it has no max pooling. The
rule: a RoI is scaled, cut into equal bins, and each bin is sampled at a regular grid of points,
bilinearly. ``aligned`` moves the RoI by half a cell, so that cell centres are at whole
coordinates; without it RoIs are taken to be at least one cell wide and high. A sample further than
one cell outside the feature map counts as 0.

Source: mmcv docs, ``mmcv.ops.RoIAlign``.
"""

from collections.abc import Iterator

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .precision import at_least_float32
from .scatter import add_to_cells

__all__ = ["roi_align_backward", "roi_align_forward"]

MAX = 0  # pool_mode; 1 is average


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool bilinear samples of each bin of each RoI.

    Args:
        input: Features, (B, C, H, W), floating point.
        rois: (R, 5) as (index in the batch, x1, y1, x2, y2) in pixels of the image.
        output: (R, C, PH, PW), overwritten: the pooled values.
        argmax_y, argmax_x: Of the shape of ``output`` and overwritten in max mode, the position of
            the first greatest sample in cells of the feature map; empty in average mode.
        aligned_height: PH, the number of bins down.
        aligned_width: PW, the number of bins across.
        spatial_scale: Cells of the feature map per pixel of the image.
        sampling_ratio: Samples per bin and axis. 0: about one per cell, fixed for each RoI.
        pool_mode: 0 max, 1 average.
        aligned: Whether cell centres are at whole coordinates, see above.

    With ``sampling_ratio=0`` and ``aligned``, a RoI without width or height has no samples. Its
    output is 0 in both modes and its argmax -1; mmcv's max mode gives the number that it began
    with, -10000 on the CPU and -FLT_MAX on CUDA.
    """
    values, rois = at_least_float32(input), at_least_float32(rois)
    bins = (aligned_height, aligned_width)
    if pool_mode == MAX:
        grid = _sample_grid(rois, bins, spatial_scale, sampling_ratio, aligned)
        _max_pool(values, rois, grid, output, argmax_y, argmax_x)
    else:
        pooled = torch.ops.torchvision.roi_align(
            values, rois.to(values.dtype), spatial_scale, *bins, sampling_ratio, aligned
        )
        output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Hand each bin's gradient to the cells that its samples were read from.

    Args:
        grad_output: (R, C, PH, PW), floating point.
        rois, argmax_y, argmax_x: As in the forward pass. In max mode positions come in the dtype
            of the features: in float16 and bfloat16 they are that much rounded.
        grad_input: (B, C, H, W), added to.
        aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned: As in the
            forward pass.
    """
    grad = at_least_float32(grad_output)
    if pool_mode == MAX:
        grad = grad * ((argmax_y != -1) | (argmax_x != -1))  # one alone may be a sample's place
        y, x = at_least_float32(argmax_y), at_least_float32(argmax_x)
        corners = _corners(y, x, grad_input.shape[2:])
        add_to_cells(grad_input, rois, ((cell, grad * weight) for cell, weight in corners))
    else:
        grad_input += torch.ops.torchvision._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )


def _sample_grid(
    rois: Tensor, bins: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Where RoIs begin, the size of their bins and the samples per bin; (R, 2) as (y, x) each."""
    shift = 0.5 if aligned else 0.0
    start = rois[:, [2, 1]] * scale - shift
    size = rois[:, [4, 3]] * scale - shift - start
    if not aligned:
        size = size.clamp(min=1)
    step = size / size.new_tensor(bins)
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    return start, step, samples.long()


def _max_pool(
    values: Tensor,
    rois: Tensor,
    grid: tuple[Tensor, Tensor, Tensor],
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
) -> None:
    """Max mode of :func:`roi_align_forward`: RoI by RoI, for each has a grid of its own size."""
    start, step, samples = grid
    size, bins = values.shape[2:], output.shape[2:]
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    image = rois[:, 0].long().tolist()
    cells = values.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C), channels side by side
    down, across = (torch.arange(n, device=values.device)[:, None] for n in bins)
    for roi, (rows, columns) in enumerate(samples.tolist()):
        if rows <= 0 or columns <= 0:
            continue
        y = _positions(start[roi, 0], step[roi, 0], bins[0], rows)  # (PH, rows)
        x = _positions(start[roi, 1], step[roi, 1], bins[1], columns)  # (PW, columns)
        found = sum(
            cells[image[roi]][cell] * weight[..., None]
            for cell, weight in _corners(y[:, None, :, None], x[:, None], size)
        )  # (PH, PW, rows, columns, C)
        best, index = found.flatten(2, 3).max(2)  # (PH, PW, C)
        output[roi] = best.permute(2, 0, 1)
        argmax_y[roi] = y[down[:, None], index // columns].permute(2, 0, 1)
        argmax_x[roi] = x[across, index % columns].permute(2, 0, 1)


def _positions(start: Tensor, step: Tensor, bins: int, samples: int) -> Tensor:
    """Positions of the samples along an axis in cells, (bins, samples)."""
    bin_, sample = (torch.arange(n, dtype=step.dtype, device=step.device) for n in (bins, samples))
    return start + bin_[:, None] * step + (sample + 0.5) * step / samples


def _corners(y: Tensor, x: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The four cells around each position, as ``y * W + x``, each with its bilinear weight.

    Args:
        y, x: Positions in cells; their shapes broadcast, to that of what this yields.
        size: (H, W) of the feature map.
    """
    for row, row_weight in _neighbours(y, size[0]):
        for column, column_weight in _neighbours(x, size[1]):
            yield row * size[1] + column, row_weight * column_weight


def _neighbours(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two cells that a position lies between along an axis, each with its weight.

    Up to one cell outside the map the border cell counts in full, further out both weights are 0.
    """
    inside = (position >= -1) & (position <= size)
    position = position.clamp(0, size - 1)
    low = position.long()
    above = position - low
    return [(low, (1 - above) * inside), ((low + 1).clamp(max=size - 1), above * inside)]
