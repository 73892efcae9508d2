"""``upfirdn2d`` as mmcv calls it on GPUs, against scipy's."""

import numpy as np
import pytest
import scipy.signal
import torch
from mmcv.ops.upfirdn2d import _upfirdn2d_cuda
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

CASES = [  # up, down, padding (left, right, top, bottom), flip
    ((1, 1), (1, 1), (0, 0, 0, 0), False),
    ((2, 3), (1, 1), (2, 1, 0, 3), False),
    ((1, 2), (3, 2), (2, 2, 1, 4), True),
    ((2, 1), (1, 2), (-1, 2, 3, -2), False),
]


def by_scipy(x: Tensor, kernel: Tensor, up, down, padding, flip, gain) -> Tensor:
    spread = np.zeros((*x.shape[:2], x.shape[2] * up[1], x.shape[3] * up[0]))
    spread[:, :, :: up[1], :: up[0]] = x
    left, right, top, bottom = padding
    wide = np.pad(spread, [(0, 0), (0, 0), (9, 9), (9, 9)])
    height, width = wide.shape[2:]
    cut = wide[:, :, 9 - top : height - 9 + bottom, 9 - left : width - 9 + right]
    taps = kernel.numpy()[::-1, ::-1] if flip else kernel.numpy()
    filtered = [[scipy.signal.convolve2d(plane, taps, "valid") for plane in image] for image in cut]
    return gain * torch.tensor(np.array(filtered))[:, :, :: down[1], :: down[0]]


@pytest.mark.parametrize(("up", "down", "padding", "flip"), CASES)
def test_forward_and_gradients(up, down, padding, flip):
    x, kernel = torch.randn(2, 3, 6, 7, dtype=torch.float64), torch.randn(3, 4)
    resample = _upfirdn2d_cuda(up, down, padding, flip, 1.5)
    expected = by_scipy(x, kernel.double(), up, down, padding, flip, 1.5)
    torch.testing.assert_close(resample.apply(x, kernel), expected)
    torch.testing.assert_close(
        resample.apply(x.half(), kernel).double(), expected, rtol=0.01, atol=0.03
    )
    x.requires_grad_()
    assert gradcheck(lambda x: resample.apply(x, kernel), x, fast_mode=True)
    assert gradgradcheck(lambda x: resample.apply(x, kernel), x, fast_mode=True)


def test_separable_filter():
    x, taps = torch.randn(1, 2, 6, 7, dtype=torch.float64), torch.randn(3)
    resample = _upfirdn2d_cuda((2, 1), (1, 2), (1, 2, 2, 0), False, 0.5)
    expected = by_scipy(x, taps.outer(taps).double(), (2, 1), (1, 2), (1, 2, 2, 0), False, 0.5)
    torch.testing.assert_close(resample.apply(x, taps), expected, rtol=1e-6, atol=1e-6)


def test_autocast_does_not_lower_the_precision():
    x, kernel = torch.randn(1, 2, 6, 7), torch.randn(3, 4)
    resample = _upfirdn2d_cuda(2, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = resample.apply(x, kernel)
    assert torch.equal(output, resample.apply(x, kernel))
