"""``TINShift`` against loops over frames and channels."""

import pytest
import torch
from mmcv.ops import TINShift
from torch.autograd import gradcheck


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_forward(dtype):
    x, shift = torch.randn(2, 5, 6, 4).to(dtype), torch.tensor([[0, 2, -1], [-7, 4, 1]]).int()
    expected = torch.zeros_like(x)
    for b in range(2):
        for c in range(6):
            for t in range(5):
                moved = t + shift[b, c // 2].item()
                if 0 <= moved < 5:
                    expected[b, moved, c] = x[b, t, c]
    assert torch.equal(TINShift()(x, shift), expected)


def test_gradient():
    x = torch.randn(2, 5, 6, 4, dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[0, 2, -1], [-7, 4, 1]]).int()
    assert gradcheck(lambda x: TINShift()(x, shift), x, fast_mode=True)
