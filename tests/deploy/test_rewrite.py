"""LSNet's layers rewritten for runtimes, against themselves."""

import pytest
import torch
from torch import nn

from lsnet_mm.deploy.rewrite import FixedAttention, StaticLSConv, rewrite
from lsnet_mm.models import Attention, LSConv
from tests import golden


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (14, 11)])
@pytest.mark.parametrize(
    ("dim", "kernel", "group"), [(16, 3, 8), (24, 3, 4), (16, 5, 2), (8, 1, 8)]
)
def test_ls_conv(dim, kernel, group, size):
    layer = golden.fill(LSConv(dim, small_kernel=kernel, group_size=group)).eval()
    x = torch.randn(2, dim, *size)
    changed = rewrite(nn.Sequential(layer), (x,), fixed_size=True)
    assert isinstance(changed[0], StaticLSConv)
    want = layer(x)
    torch.testing.assert_close(changed(x), want, rtol=0, atol=1e-5 * want.std().item())
    # In training mode and unfolded as before.
    assert isinstance(layer.lkp.cv1, nn.Sequential)


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 4), (3, 6), (1, 1)])
def test_attention(size):
    layer = golden.fill(Attention(32, 16, 4, resolution=4)).eval()
    x = torch.randn(2, 32, *size)
    changed = rewrite(nn.Sequential(layer), (x,), fixed_size=True)
    assert isinstance(changed[0], FixedAttention)
    want = layer(x)
    torch.testing.assert_close(changed(x), want, rtol=0, atol=1e-5 * want.std().item())
    assert isinstance(rewrite(nn.Sequential(layer), (x,), fixed_size=False)[0], Attention)
