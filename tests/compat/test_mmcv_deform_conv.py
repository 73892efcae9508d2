"""``DeformConv2d`` and ``ModulatedDeformConv2d`` against loops over places and samples."""

import math
from itertools import product

import mmcv._ext
import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)
from torch import Tensor
from torch.autograd import gradcheck

# Stride, padding, dilation, groups and deformable groups, of a 3 x 2 kernel.
GEOMETRIES = [
    ((1, 1), (0, 0), (1, 1), 1, 1),
    ((2, 1), (1, 2), (1, 2), 1, 2),
    ((1, 2), (2, 1), (2, 1), 2, 1),
    ((1, 1), (1, 0), (1, 1), 2, 4),
]


def inputs(geometry, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Features, (2, 4, 6, 5), offsets of up to some cells, factors, weight and bias."""
    stride, padding, dilation, groups, deform_groups = geometry
    generator = torch.Generator().manual_seed(0)
    size = [
        (n + 2 * padding[i] - dilation[i] * (k - 1) - 1) // stride[i] + 1
        for i, (n, k) in enumerate(((6, 3), (5, 2)))
    ]
    shapes = [
        (2, 4, 6, 5),
        (2, deform_groups * 12, *size),
        (2, deform_groups * 6, *size),
        (6, 4 // groups, 3, 2),
        (6,),
    ]
    x, offset, mask, weight, bias = (torch.randn(s, generator=generator) for s in shapes)
    return [tensor.to(dtype) for tensor in (x, 1.5 * offset, mask.sigmoid(), weight, bias)]


def sample(plane: Tensor, y: float, x: float) -> float:
    """Bilinear interpolation between cells, zeros around them."""
    return sum(
        plane[i, j].item() * (1 - abs(y - i)) * (1 - abs(x - j))
        for i in (math.floor(y), math.floor(y) + 1)
        for j in (math.floor(x), math.floor(x) + 1)
        if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]
    )


def convolve_by_hand(x, offset, mask, weight, bias, geometry) -> Tensor:
    stride, padding, dilation, groups, deform_groups = geometry
    outputs, _, rows, columns = weight.shape
    output = torch.zeros(len(x), outputs, *offset.shape[2:], dtype=torch.float64)
    per_group, per_deform_group = x.shape[1] // groups, x.shape[1] // deform_groups
    for b, p, q in product(range(len(x)), *map(range, offset.shape[2:])):
        for c, (i, j) in product(range(x.shape[1]), product(range(rows), range(columns))):
            place = (c // per_deform_group) * rows * columns + i * columns + j
            dy, dx = offset[b, 2 * place : 2 * place + 2, p, q].tolist()
            y = p * stride[0] - padding[0] + i * dilation[0] + dy
            value = sample(x[b, c], y, q * stride[1] - padding[1] + j * dilation[1] + dx)
            value *= mask[b, place, p, q].item()
            group = slice(c // per_group * (outputs // groups), None)
            group = slice(group.start, group.start + outputs // groups)
            output[b, group, p, q] += value * weight[group, c % per_group, i, j].double()
    return output + bias[:, None, None]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_modulated(geometry, dtype):
    x, offset, mask, weight, bias = inputs(geometry, dtype)
    expected = convolve_by_hand(x, offset, mask, weight, bias, geometry).to(dtype)
    stride, padding, dilation, groups, deform_groups = geometry
    layer = ModulatedDeformConv2d(
        4, 6, (3, 2), stride, padding, dilation, groups, deform_groups, bias=True
    ).to(dtype)
    layer.load_state_dict({"weight": weight, "bias": bias})
    torch.testing.assert_close(layer(x, offset, mask), expected)
    without_bias = modulated_deform_conv2d(x, offset, mask, weight, None, *geometry)
    torch.testing.assert_close(without_bias, expected - bias[:, None, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_deform(geometry, dtype):
    x, offset, mask, weight, bias = inputs(geometry, dtype)
    ones, zeros = torch.ones_like(mask), torch.zeros_like(bias)
    expected = convolve_by_hand(x, offset, ones, weight, zeros, geometry).to(dtype)
    stride, padding, dilation, groups, deform_groups = geometry
    layer = DeformConv2d(4, 6, (3, 2), stride, padding, dilation, groups, deform_groups).to(dtype)
    layer.load_state_dict({"weight": weight})
    torch.testing.assert_close(layer(x, offset), expected)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients(geometry, step):
    x, offset, mask, weight, bias = (t.requires_grad_() for t in inputs(geometry))
    stride, padding, dilation, groups, deform_groups = geometry
    assert gradcheck(
        lambda *tensors: deform_conv2d(
            *tensors, stride, padding, dilation, groups, deform_groups, False, step
        ),
        (x, offset, weight),
        fast_mode=True,
    )
    assert gradcheck(
        lambda *tensors: modulated_deform_conv2d(*tensors, *geometry),
        (x, offset, mask, weight, bias),
        fast_mode=True,
    )
    assert gradcheck(
        lambda *tensors: modulated_deform_conv2d(*tensors, None, *geometry),
        (x, offset, mask, weight),
        fast_mode=True,
    )


def test_each_gradient_alone_is_that_of_all():
    x, offset, _, weight, _ = inputs(GEOMETRIES[0])
    tensors = [x, offset, weight]
    together = [tensor.clone().requires_grad_() for tensor in tensors]
    together_output = deform_conv2d(*together)
    grad = torch.randn_like(together_output)
    for _ in range(2):  # twice: the buffer between mmcv's two calls must be as at first
        together_output.backward(grad, retain_graph=True)
    for i, tensor in enumerate(together):
        alone = [t.clone().requires_grad_(i == j) for j, t in enumerate(tensors)]
        deform_conv2d(*alone).backward(grad)
        torch.testing.assert_close(2 * alone[i].grad, tensor.grad)


def test_gradient_of_the_weight_is_added_with_its_scale():
    x, offset, _, weight, _ = inputs(GEOMETRIES[0])
    weight.requires_grad_()
    output = deform_conv2d(x, offset, weight)
    output.sum().backward()
    total, buffer = torch.ones_like(weight), x.new_empty(0)
    geometry = dict(kW=2, kH=3, dW=1, dH=1, padW=0, padH=0, dilationW=1, dilationH=1, group=1)
    mmcv._ext.deform_conv_backward_parameters(
        x,
        offset,
        torch.ones_like(output),
        total,
        buffer,
        buffer,
        **geometry,
        deformable_group=1,
        scale=0.5,
        im2col_step=1,
    )
    torch.testing.assert_close(total, 1 + 0.5 * weight.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype):
    tensors = [t.requires_grad_() for t in inputs(GEOMETRIES[1], dtype)]
    wide = [t.detach().double().requires_grad_() for t in tensors]
    output = modulated_deform_conv2d(*tensors, *GEOMETRIES[1])
    exact = modulated_deform_conv2d(*wide, *GEOMETRIES[1])
    assert output.dtype == dtype
    ulp = {"rtol": torch.finfo(dtype).eps / 2, "atol": 1e-4}
    torch.testing.assert_close(output.double(), exact, **ulp)
    weight = torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype)
    (output * weight).sum().backward()
    (exact * weight.double()).sum().backward()
    for half, full in zip(tensors, wide, strict=True):
        torch.testing.assert_close(half.grad.double(), full.grad, **ulp)


@pytest.mark.parametrize("pack", [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_autocast(pack):
    layer, x = pack(4, 6, 3, padding=1), torch.randn(2, 4, 5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x)
    output.float().sum().backward()
    torch.testing.assert_close(output.float(), layer(x), rtol=0.02, atol=0.05)
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_without_offsets_it_is_a_convolution():
    layer, x = DeformConv2dPack(4, 6, 3, padding=1), torch.randn(2, 4, 5, 7)
    expected = torch.nn.functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_image_smaller_than_the_kernel():
    layer, x = DeformConv2d(4, 6, 3, padding=1), torch.randn(1, 4, 2, 1)
    expected = torch.nn.functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x, torch.zeros(1, 18, 2, 1)), expected)


def test_larger_maps_are_read_from_their_start():
    # mmdet's DyHead does this, and mmcv's kernel takes the size from the output.
    generator = torch.Generator().manual_seed(0)
    x, offset, mask, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 3, 4, 5), (2, 18, 8, 10), (2, 9, 8, 10), (4, 3, 3, 3))
    )
    read = [
        torch.stack([maps[b].flatten()[: n * 20].view(n, 4, 5) for b in range(2)])
        for maps, n in ((offset, 18), (mask, 9))
    ]
    geometry = ((1, 1), (1, 1), (1, 1), 1, 1)
    expected = convolve_by_hand(x, *read, weight, x.new_zeros(4), geometry)
    torch.testing.assert_close(
        modulated_deform_conv2d(x, offset, mask, weight, None, *geometry), expected
    )
    strided = [t.to(memory_format=torch.channels_last).requires_grad_() for t in (offset, mask)]
    assert gradcheck(
        lambda *maps: modulated_deform_conv2d(x, *maps, weight, None, *geometry),
        strided,
        fast_mode=True,
    )


def test_samples_at_no_place_are_zeros():
    layer, x = DeformConv2d(4, 6, 3), torch.randn(1, 4, 40, 40, requires_grad=True)
    for value in (torch.nan, torch.inf, -torch.inf, 1e30):
        offset = torch.full((1, 18, 38, 38), value, requires_grad=True)
        output = layer(x, offset)
        output.sum().backward()
        assert not output.any()
        assert not x.grad.any()
