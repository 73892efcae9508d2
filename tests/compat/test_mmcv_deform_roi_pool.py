"""``DeformRoIPool`` against plain Python loops over bins and samples."""

import math
from itertools import product

import pytest
import torch
from mmcv.ops import DeformRoIPool, DeformRoIPoolPack, ModulatedDeformRoIPoolPack, RoIAlign
from torch import Tensor
from torch.autograd import gradcheck

from .by_hand import sample

ROIS = [  # on a 7 x 9 map of two images
    [0, 1.3, 0.7, 6.4, 5.2],
    [1, -2.3, -3.8, 4.2, 3.4],
    [0, 3.3, 2.6, 3.4, 2.8],
    [1, 30.2, 2.4, 38.6, 6.3],
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 7, 9, generator=generator)
    offset = 3 * torch.randn(4, 2, 3, 2, generator=generator)
    return features.to(dtype), torch.tensor(ROIS, dtype=dtype), offset.to(dtype)


def pool_by_hand(features, rois, offset, scale, ratio, gamma) -> Tensor:
    bins = offset.shape[2:]
    pooled = torch.zeros(len(rois), features.shape[1], *bins, dtype=torch.float64)
    for r, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        width, height = (x2 - x1) * scale, (y2 - y1) * scale
        rows, columns = ratio or math.ceil(height / bins[0]), ratio or math.ceil(width / bins[1])
        for i, j, row, column in product(*map(range, (*bins, rows, columns))):
            move_x, move_y = offset[r, :, i, j].tolist()
            across = (j + (column + 0.5) / columns) / bins[1] + gamma * move_x
            down = (i + (row + 0.5) / rows) / bins[0] + gamma * move_y
            y, x = y1 * scale - 0.5 + down * height, x1 * scale - 0.5 + across * width
            for c, plane in enumerate(features[int(image)].tolist()):
                pooled[r, c, i, j] += sample(plane, y, x) / (rows * columns)
    return pooled


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_forward(scale, ratio):
    for dtype in (torch.float64, torch.float32):
        features, rois, offset = inputs(dtype)
        expected = pool_by_hand(features, rois, offset, scale, ratio, 0.1).to(dtype)
        output = DeformRoIPool((3, 2), scale, ratio, 0.1)(features, rois, offset)
        torch.testing.assert_close(output, expected)


def test_without_offsets_it_is_roi_align():
    features, rois, _ = inputs()
    expected = RoIAlign((3, 2), 1.0, 2)(features, rois)
    torch.testing.assert_close(DeformRoIPool((3, 2), 1.0, 2)(features, rois), expected)


@pytest.mark.parametrize("ratio", [0, 2])
def test_gradient(ratio):
    features, rois, offset = inputs()
    pool = DeformRoIPool((3, 2), 1.0, ratio)
    tensors = features.requires_grad_(), offset.requires_grad_()
    assert gradcheck(lambda x, moves: pool(x, rois, moves), tensors, fast_mode=True)
    assert gradcheck(lambda x: pool(x, rois), features, fast_mode=True)


@pytest.mark.parametrize("pack", [DeformRoIPoolPack, ModulatedDeformRoIPoolPack])
def test_pack(pack):
    features, rois, _ = inputs(torch.float32)
    layer = pack((3, 2), 3, deform_fc_channels=8)
    layer(features.requires_grad_(), rois).sum().backward()
    assert features.grad.any()
    assert layer.offset_fc[-1].weight.grad.any()


def test_no_rois():
    features = inputs()[0].requires_grad_()
    rois, offset = features.new_zeros(0, 5), features.new_zeros(0, 2, 3, 2)
    output = DeformRoIPool((3, 2))(features, rois, offset)
    output.sum().backward()
    assert output.shape == (0, 3, 3, 2)
    assert not features.grad.any()
