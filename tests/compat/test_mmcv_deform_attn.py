"""Multi-scale deformable attention, as mmcv calls it on GPUs, against loops over samples."""

import math
from itertools import product

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch import Tensor
from torch.autograd import gradcheck

SIZES = [(3, 4), (1, 2), (2, 1)]
SHAPES = torch.tensor(SIZES)
STARTS = torch.tensor([0, 12, 14])


def inputs(dtype: torch.dtype = torch.float64, queries: int = 5) -> list[Tensor]:
    """Values of 16 cells, (2, 16, 2, 3), locations, some off the maps, and weights."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(2, 16, 2, 3, generator=generator)
    locations = torch.rand(2, queries, 2, 3, 4, 2, generator=generator) * 1.6 - 0.3
    weights = torch.rand(2, queries, 2, 3, 4, generator=generator)
    return [tensor.to(dtype) for tensor in (value, locations, weights)]


def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def attend_by_hand(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    output = torch.zeros(*locations.shape[:3], value.shape[3], dtype=torch.float64)
    for b, q, m, level, p in product(*map(range, weights.shape)):
        height, width = SIZES[level]
        x, y = locations[b, q, m, level, p].tolist()
        y, x = y * height - 0.5, x * width - 0.5
        for i, j in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
            if 0 <= i < height and 0 <= j < width:
                cell = value[b, STARTS[level] + i * width + j, m].double()
                factor = (1 - abs(y - i)) * (1 - abs(x - j))
                output[b, q, m] += factor * weights[b, q, m, level, p].item() * cell
    return output.flatten(2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_forward(dtype):
    tensors = inputs(dtype)
    torch.testing.assert_close(attend(*tensors), attend_by_hand(*tensors).to(dtype))


def test_gradient():
    assert gradcheck(attend, [tensor.requires_grad_() for tensor in inputs()])


def test_no_queries():
    tensors = [tensor.requires_grad_() for tensor in inputs(queries=0)]
    output = attend(*tensors)
    output.sum().backward()
    assert output.shape == (2, 0, 6)
    assert not tensors[0].grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype):
    tensors = [tensor.requires_grad_() for tensor in inputs(dtype)]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    output, exact = attend(*tensors), attend(*wide)
    assert output.dtype == dtype
    ulp = {"rtol": torch.finfo(dtype).eps / 2, "atol": 1e-5}
    torch.testing.assert_close(output.double(), exact, **ulp)
    output.sum().backward()
    exact.sum().backward()
    for half, full in zip(tensors, wide, strict=True):
        torch.testing.assert_close(half.grad.double(), full.grad, **ulp)
