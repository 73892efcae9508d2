"""``fused_bias_leakyrelu`` as mmcv calls it on GPUs, against bias and leaky ReLU."""

import pytest
import torch
from mmcv.ops.fused_bias_leakyrelu import FusedBiasLeakyReLUFunction
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import leaky_relu


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5)])
def test_forward(shape, dtype):
    x, bias = torch.randn(shape, dtype=dtype), torch.randn(3, dtype=dtype)
    expected = 1.5 * leaky_relu(x.movedim(1, -1) + bias, 0.2).movedim(-1, 1)
    torch.testing.assert_close(FusedBiasLeakyReLUFunction.apply(x, bias, 0.2, 1.5), expected)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5)])
def test_gradients(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    act = lambda x, bias: FusedBiasLeakyReLUFunction.apply(x, bias, 0.2, 1.5)  # noqa: E731
    assert gradcheck(act, (x, bias), fast_mode=True)
    assert gradgradcheck(act, (x, bias), fast_mode=True)
