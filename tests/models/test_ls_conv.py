"""The LS convolution as a layer of its own."""

import pytest
import torch

from lsnet_mm.models import LSConv


@pytest.mark.parametrize(
    ("dim", "large", "small", "group"), [(16, 7, 3, 8), (8, 3, 5, 4), (6, 5, 1, 1)]
)
def test_is_its_formula(dim, large, small, group):
    """Kernels are predicted per position and set; each output sums its own neighbourhood."""
    layer = LSConv(dim, large, small, group).double().eval()
    x = torch.randn(1, dim, 5, 4, dtype=torch.float64)
    kernels = layer.lkp(x)
    assert kernels.shape == (1, dim // group, small**2, 5, 4)
    aggregated = torch.zeros_like(x)
    reach = small // 2
    for c in range(dim):
        for i in range(5):
            for j in range(4):
                for k in range(small**2):
                    y, z = i + k // small - reach, j + k % small - reach
                    if 0 <= y < 5 and 0 <= z < 4:
                        weight = kernels[0, c % (dim // group), k, i, j]
                        aggregated[0, c, i, j] += x[0, c, y, z] * weight
    torch.testing.assert_close(layer(x), layer.bn(aggregated) + x)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(dim=12), "dim must be even and a multiple of group_size 8, got 12"),
        (dict(dim=16, large_kernel=6), "large_kernel must be odd, got 6"),
        (dict(dim=16, small_kernel=2), "small_kernel must be odd, got 2"),
    ],
)
def test_errors_name_the_argument(kwargs, message):
    with pytest.raises(ValueError, match="LSConv") as raised:
        LSConv(**kwargs)
    assert message in str(raised.value)
