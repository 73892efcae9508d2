"""``MaskedConv2d`` against a convolution of which some cells are kept."""

import pytest
import torch
from mmcv.ops import MaskedConv2d


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "padding"), [((1, 1), (0, 0)), ((3, 5), (1, 2))])
def test_forward(kernel, padding, dtype):
    layer = MaskedConv2d(3, 4, kernel, padding=padding).to(dtype)
    x, mask = torch.randn(1, 3, 6, 7, dtype=dtype), torch.rand(1, 6, 7) > 0.6
    torch.testing.assert_close(layer(x, mask), layer(x) * mask)


def test_nothing_kept():
    layer, x = MaskedConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 6, 7)
    assert not layer(x, torch.zeros(1, 6, 7)).any()
