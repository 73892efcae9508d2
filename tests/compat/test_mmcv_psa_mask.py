"""``PSAMask`` against loops over pairs of cells."""

from itertools import product

import pytest
import torch
from mmcv.ops import PSAMask
from torch import Tensor
from torch.autograd import gradcheck

SIZES = [((3, 4), (5, 7)), ((3, 4), (3, 3)), ((4, 2), (2, 4)), ((1, 3), (1, 1))]


def masks(size: tuple[int, int], mask: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, mask[0] * mask[1], *size, generator=generator, dtype=torch.float64)


def psa_mask_by_hand(
    x: Tensor, size: tuple[int, int], mask: tuple[int, int], psa_type: str
) -> Tensor:
    output = torch.zeros(len(x), size[0] * size[1], *size, dtype=x.dtype)
    middle = (mask[0] - 1) // 2, (mask[1] - 1) // 2
    cells = list(product(range(size[0]), range(size[1])))
    for (own, (y, x_)), (other, (v, u)) in product(enumerate(cells), enumerate(cells)):
        row, column = v - y + middle[0], u - x_ + middle[1]
        if 0 <= row < mask[0] and 0 <= column < mask[1]:
            value = x[:, row * mask[1] + column, y, x_]
            if psa_type == "collect":
                output[:, other, y, x_] = value
            else:
                output[:, own, v, u] = value
    return output


@pytest.mark.parametrize("psa_type", ["collect", "distribute"])
@pytest.mark.parametrize(("size", "mask"), SIZES)
def test_forward_and_gradient(size, mask, psa_type):
    x = masks(size, mask)
    layer = PSAMask(psa_type, mask)
    assert torch.equal(layer(x), psa_mask_by_hand(x, size, mask, psa_type))
    assert gradcheck(layer, x.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("psa_type", ["collect", "distribute"])
def test_other_dtypes_lose_nothing(psa_type, dtype):
    x = masks((3, 4), (5, 5)).to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    output, exact = PSAMask(psa_type, (5, 5))(x), PSAMask(psa_type, (5, 5))(wide)
    output.backward(2 * output.detach())
    exact.backward(2 * exact.detach())
    assert output.dtype == dtype
    assert torch.equal(output.double(), exact)
    assert torch.equal(x.grad.double(), wide.grad)
