"""``BorderAlign`` against plain Python loops over borders and samples."""

from itertools import product

import pytest
import torch
from mmcv.ops import BorderAlign
from torch import Tensor
from torch.autograd import gradcheck

from .by_hand import sample

BOXES = [
    [[1.3, 0.7, 6.4, 5.2], [-2.3, -3.8, 4.2, 3.4], [3.0, 2.0, 3.0, 2.0]],
    [[5.6, 4.2, 13.7, 11.6], [30.2, 2.4, 38.6, 6.3], [0.0, 0.0, 8.0, 6.0]],
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 8, 7, 9, generator=torch.Generator().manual_seed(0))
    return features.to(dtype), torch.tensor(BOXES, dtype=dtype)


def align_by_hand(features: Tensor, boxes: Tensor, pool_size: int) -> Tensor:
    channels = features.shape[1] // 4
    output = torch.zeros(len(boxes), channels, boxes.shape[1], 4, dtype=torch.float64)
    for b, c, n in product(*map(range, output.shape[:3])):
        x1, y1, x2, y2 = boxes[b, n].tolist()
        ends = [(x1, y1, x2, y1), (x1, y1, x1, y2), (x1, y2, x2, y2), (x2, y1, x2, y2)]
        for side, (left, top, right, bottom) in enumerate(ends):
            plane = features[b, side * channels + c].tolist()
            output[b, c, n, side] = max(
                sample(plane, top + part * (bottom - top), left + part * (right - left))
                for part in (i / pool_size for i in range(pool_size + 1))
            )
    return output


@pytest.mark.parametrize("pool_size", [1, 4])
def test_forward(pool_size):
    for dtype in (torch.float64, torch.float32):
        features, boxes = inputs(dtype)
        expected = align_by_hand(features, boxes, pool_size).to(dtype)
        torch.testing.assert_close(BorderAlign(pool_size)(features, boxes), expected)


@pytest.mark.parametrize("pool_size", [1, 4])
def test_gradient(pool_size):
    features, boxes = inputs()
    align = BorderAlign(pool_size)
    assert gradcheck(lambda x: align(x, boxes), features.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype):
    features, boxes = inputs(dtype)
    output = BorderAlign(4)(features.requires_grad_(), boxes)
    exact = BorderAlign(4)(features.detach().double(), boxes.double())
    output.sum().backward()
    assert output.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(output.double(), exact, rtol=torch.finfo(dtype).eps / 2, atol=1e-5)


def test_no_boxes():
    features = inputs()[0].requires_grad_()
    output = BorderAlign(4)(features, features.new_zeros(2, 0, 4))
    output.sum().backward()
    assert output.shape == (2, 2, 0, 4)
    assert not features.grad.any()
