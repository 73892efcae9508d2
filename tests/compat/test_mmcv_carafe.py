"""``CARAFE`` and ``CARAFENaive`` against a loop over places of the output."""

from itertools import product

import mmcv._ext
import pytest
import torch
from mmcv.ops import CARAFE, CARAFENaive, CARAFEPack
from torch import Tensor
from torch.autograd import gradcheck

SIZES = [(3, 1, 2), (1, 2, 3), (5, 4, 1)]  # of the kernel, groups, scale


def inputs(sizes: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    kernel, groups, scale = sizes
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 3, 5, generator=generator)
    masks = torch.rand(2, groups * kernel**2, 3 * scale, 5 * scale, generator=generator)
    return [features.to(dtype), masks.to(dtype)]


def carafe_by_hand(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    batch, channels, height, width = features.shape
    output = torch.zeros(batch, channels, height * scale, width * scale, dtype=features.dtype)
    for b, c, y, x in product(*map(range, output.shape)):
        group = c // (channels // groups)
        for i, j in product(range(kernel), range(kernel)):
            row, column = y // scale + i - kernel // 2, x // scale + j - kernel // 2
            if 0 <= row < height and 0 <= column < width:
                weight = masks[b, group * kernel**2 + i * kernel + j, y, x]
                output[b, c, y, x] += weight * features[b, c, row, column]
    return output


@pytest.mark.parametrize("layer", [CARAFE, CARAFENaive])
@pytest.mark.parametrize("sizes", SIZES)
def test_forward(sizes, layer):
    for dtype in (torch.float64, torch.float32):
        features, masks = inputs(sizes, dtype)
        expected = carafe_by_hand(features, masks, *sizes)
        torch.testing.assert_close(layer(*sizes)(features, masks), expected)


@pytest.mark.parametrize("sizes", SIZES)
def test_gradient(sizes):
    tensors = [tensor.requires_grad_() for tensor in inputs(sizes)]
    assert gradcheck(CARAFE(*sizes), tensors, fast_mode=True)


def test_naive_gradient_is_the_same():
    # The op itself: mmcv's layer lets gradients pass on GPUs only.
    tensors = [tensor.requires_grad_() for tensor in inputs((3, 2, 2))]
    output = CARAFE(3, 2, 2)(*tensors)
    grad = torch.randn_like(output)
    output.backward(grad)
    found = [torch.zeros_like(tensor) for tensor in tensors]
    mmcv._ext.carafe_naive_backward(grad, *tensors, *found, 3, 2, 2)
    for tensor, value in zip(tensors, found, strict=True):
        torch.testing.assert_close(value, tensor.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype):
    tensors = [tensor.requires_grad_() for tensor in inputs((3, 1, 2), dtype)]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    output, exact = CARAFE(3, 1, 2)(*tensors), CARAFE(3, 1, 2)(*wide)
    assert output.dtype == dtype
    ulp = {"rtol": torch.finfo(dtype).eps / 2, "atol": 1e-5}
    torch.testing.assert_close(output.double(), exact, **ulp)
    output.sum().backward()
    exact.sum().backward()
    for half, full in zip(tensors, wide, strict=True):
        torch.testing.assert_close(half.grad.double(), full.grad, **ulp)


@pytest.mark.parametrize("autocast", [False, True])
def test_pack(autocast):
    layer, x = CARAFEPack(4, 2), torch.ones(1, 4, 6, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = layer(x)
    output.sum().backward()
    # Each place is a mean: where the kernel does not reach the border, of ones.
    inner = output[:, :, 4:-4, 4:-4].float()
    torch.testing.assert_close(inner, torch.ones_like(inner), rtol=0.01, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
