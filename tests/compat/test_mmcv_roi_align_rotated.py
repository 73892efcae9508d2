"""``RoIAlignRotated`` against plain Python loops over bins and samples."""

import math
from itertools import product

import pytest
import torch
from mmcv.ops import RoIAlign, RoIAlignRotated
from torch import Tensor
from torch.autograd import gradcheck

from .by_hand import sample

ROIS = [  # on a 7 x 9 map of two images
    [0, 4.2, 3.1, 5.3, 2.6, 0.4],
    [1, 1.3, 0.8, 6.1, 7.4, -2.2],  # reaches over the border
    [1, 25.6, 3.7, 4.1, 2.3, 1.1],  # beside the map
    [0, 5.2, 2.4, 0.6, 0.3, 0.9],  # a fraction of a cell
    [0, 5.2, 2.4, 0.0, 2.0, 0.9],  # no width
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    return features.to(dtype), torch.tensor(ROIS, dtype=dtype)


def align_by_hand(features, rois, bins, scale, ratio, aligned, clockwise) -> Tensor:
    pooled = torch.zeros(len(rois), features.shape[1], *bins, dtype=torch.float64)
    shift = 0.5 if aligned else 0
    for r, (image, centre_x, centre_y, width, height, angle) in enumerate(rois.tolist()):
        width, height = width * scale, height * scale
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        rows, columns = ratio or math.ceil(height / bins[0]), ratio or math.ceil(width / bins[1])
        turn = angle if clockwise else -angle
        for i, j, row, column in product(*map(range, (*bins, rows, columns))):
            down = ((i + (row + 0.5) / rows) / bins[0] - 0.5) * height
            across = ((j + (column + 0.5) / columns) / bins[1] - 0.5) * width
            # With y pointing down this turns clockwise.
            x = across * math.cos(turn) - down * math.sin(turn) + centre_x * scale - shift
            y = across * math.sin(turn) + down * math.cos(turn) + centre_y * scale - shift
            for c, plane in enumerate(features[int(image)].tolist()):
                pooled[r, c, i, j] += sample(plane, y, x) / (rows * columns)
    return pooled


@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(("bins", "scale"), [((2, 2), 1.0), ((3, 1), 0.5)])
def test_forward(bins, scale, ratio, aligned, clockwise):
    for dtype in (torch.float64, torch.float32):
        features, rois = inputs(dtype)
        expected = align_by_hand(features, rois, bins, scale, ratio, aligned, clockwise)
        layer = RoIAlignRotated(bins, scale, ratio, aligned, clockwise)
        torch.testing.assert_close(layer(features, rois), expected.to(dtype))


def test_upright_is_roi_align():
    features, rois = inputs()
    rois[:, 5] = 0
    corners = torch.cat([rois[:, 1:3] - rois[:, 3:5] / 2, rois[:, 1:3] + rois[:, 3:5] / 2], dim=1)
    expected = RoIAlign((2, 3), 1.0, 0)(features, torch.cat([rois[:, :1], corners], dim=1))
    torch.testing.assert_close(RoIAlignRotated((2, 3), 1.0, 0)(features, rois), expected)


@pytest.mark.parametrize("ratio", [0, 2])
def test_gradient(ratio):
    features, rois = inputs()
    align = RoIAlignRotated((2, 3), 1.0, ratio)
    assert gradcheck(lambda x: align(x, rois), features.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype):
    features, rois = inputs(dtype)
    output = RoIAlignRotated((2, 2), 1.0, 2)(features.requires_grad_(), rois)
    exact = RoIAlignRotated((2, 2), 1.0, 2)(features.detach().double(), rois.double())
    output.sum().backward()
    assert output.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(output.double(), exact, rtol=torch.finfo(dtype).eps / 2, atol=1e-5)


def test_no_rois():
    features = inputs()[0].requires_grad_()
    output = RoIAlignRotated((2, 3), 1.0)(features, torch.zeros(0, 6, dtype=torch.float64))
    output.sum().backward()
    assert output.shape == (0, 3, 2, 3)
    assert not features.grad.any()
