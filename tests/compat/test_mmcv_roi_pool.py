"""``RoIPool`` against plain Python loops over bins and cells."""

import math

import mmcv._ext
import numpy as np
import pytest
import torch
from mmcv.ops import RoIPool
from torch import Tensor
from torch.autograd import gradcheck

# On a 7 x 9 map of two images.
ROIS = [
    [0, 1.3, 0.7, 6.4, 5.2],
    [1, 0, 0, 5, 3],  # whole numbers: bins begin and end on the border of cells
    [1, -2.3, -3.8, 4.2, 3.4],  # starts left of and above the map
    [0, 5.6, 4.2, 13.7, 11.6],  # ends right of and below it
    [0, 30.2, 2.4, 38.6, 6.3],  # beside it
    [1, -20.2, -9.4, 21.6, 23.3],  # around it, with bins beside it
    [0, 3.3, 2.6, 3.4, 2.8],  # a pixel, for a RoI's last pixel belongs to it
    [1, 4.2, 2.3, 2.7, 6.1],  # no width
    [1, 4.2, 6.3, 7.7, 5.1],  # no height
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    return features.to(dtype), torch.tensor(ROIS, dtype=dtype)


def forward(features: Tensor, rois: Tensor, bins: tuple[int, int], scale: float):
    """The op itself, for mmcv's layer does not show the argmax."""
    output = features.new_full((len(rois), features.shape[1], *bins), 7)
    argmax = torch.full_like(output, 7, dtype=torch.int32)
    mmcv._ext.roi_pool_forward(
        features,
        rois,
        output,
        argmax,
        pooled_height=bins[0],
        pooled_width=bins[1],
        spatial_scale=scale,
    )
    return output, argmax


def bin_cells(low: np.floating, high: np.floating, bins: int, index: int, size: int) -> range:
    """Cells of bin ``index``, computed in the dtype of the RoI as this decides about borders."""
    dtype = type(low)
    step = (high - low) / dtype(bins)
    start, end = dtype(index) * step + low, dtype(index + 1) * step + low
    return range(max(math.floor(start), 0), min(math.ceil(end), size))


def roi_pool_by_hand(features: Tensor, rois: Tensor, bins: tuple[int, int], scale: float):
    """Maxima and their cells, -1 where there is none."""
    height, width = features.shape[2:]
    pooled = torch.zeros(len(rois), features.shape[1], *bins, dtype=features.dtype)
    argmax = torch.full(pooled.shape, -1, dtype=torch.int32)
    for r, roi in enumerate(rois.numpy()):
        factor, one = map(roi.dtype.type, (scale, 1))
        x1, y1 = roi[1] * factor, roi[2] * factor
        x2, y2 = (roi[3] + one) * factor, (roi[4] + one) * factor
        if x2 <= x1 or y2 <= y1:
            continue
        for c, plane in enumerate(features[int(roi[0])].tolist()):
            for i in range(bins[0]):
                for j in range(bins[1]):
                    cells = [
                        (plane[y][x], y * width + x)
                        for y in bin_cells(y1, y2, bins[0], i, height)
                        for x in bin_cells(x1, x2, bins[1], j, width)
                    ]
                    if cells:
                        # The first of the greatest.
                        pooled[r, c, i, j], argmax[r, c, i, j] = max(cells, key=lambda v: v[0])
    return pooled, argmax


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("bins", [(2, 2), (3, 1), (1, 5), (7, 7)])
def test_forward(bins, scale, dtype):
    features, rois = inputs(dtype)
    expected, cells = roi_pool_by_hand(features, rois, bins, scale)
    output, argmax = forward(features, rois, bins, scale)
    assert torch.equal(output, expected)
    assert torch.equal(argmax, cells)
    assert torch.equal(RoIPool(bins, scale)(features, rois), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    features, rois = inputs(dtype)
    features.requires_grad_()
    wide = features.detach().float().requires_grad_()
    output = RoIPool((3, 2), 0.5)(features, rois)
    expected, _ = roi_pool_by_hand(wide.detach(), rois.float(), (3, 2), 0.5)
    assert torch.equal(output, expected.to(dtype))

    # Many bins share a maximum; their gradients are added up in float32 and rounded once.
    weight = torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype)
    (output * weight).sum().backward()
    (RoIPool((3, 2), 0.5)(wide, rois.float()) * weight.float()).sum().backward()
    assert torch.equal(features.grad, wide.grad.to(dtype))


def test_first_of_equal_maxima():
    features = torch.zeros(1, 1, 5, 6)
    features[0, 0, 1, 5] = features[0, 0, 3, 1] = 1
    rois = torch.tensor([[0.0, 0, 0, 5, 4]])
    assert forward(features, rois, (1, 1), 1.0)[1].item() == 1 * 6 + 5
    assert forward(torch.zeros(1, 1, 5, 6), rois, (1, 1), 1.0)[1].item() == 0


def test_gradient():
    features, rois = inputs()
    pool = RoIPool((2, 3), 0.8)
    assert gradcheck(lambda x: pool(x, rois), features.requires_grad_(), fast_mode=True)


def test_gradient_of_strided_tensors():
    features, rois = inputs()
    pool = RoIPool((2, 3), 1.0)
    weight = torch.randn(9, 2, 3, 3, dtype=torch.float64)
    strided = features.to(memory_format=torch.channels_last, copy=True).requires_grad_()
    (pool(strided, rois).permute(0, 2, 3, 1) * weight).sum().backward()
    pool(features.requires_grad_(), rois).backward(weight.permute(0, 3, 1, 2).contiguous())
    torch.testing.assert_close(strided.grad, features.grad)


def test_malformed_roi_has_no_gradient():
    features, rois = inputs()
    output = RoIPool(2, 1.0)(features.requires_grad_(), rois[-2:])
    output.sum().backward()
    assert not output.any()
    assert not features.grad.any()


def test_no_rois():
    features = inputs()[0].requires_grad_()
    output = RoIPool((2, 3), 1.0)(features, torch.zeros(0, 5, dtype=torch.float64))
    output.sum().backward()
    assert output.shape == (0, 3, 2, 3)
    assert not features.grad.any()
