"""The LS convolution as a layer of its own, and in the place of a convolution."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from lsnet_mm.benchmark.measure import macs
from lsnet_mm.deploy import fold
from lsnet_mm.models import LSConv, LSConv2d, ls_conv2d
from tests import golden
from tests.models import plain


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


def by_unfold(layer: LSConv, x: Tensor) -> Tensor:
    return plain.ls_conv(layer.state_dict(keep_vars=True), x, layer.training, layer.group)


LAYERS = st.fixed_dictionaries(
    dict(
        sets=st.integers(1, 4),
        group_size=st.sampled_from([2, 4, 6, 8]),
        large_kernel=st.sampled_from([1, 3, 7, 9]),
        small_kernel=st.sampled_from([1, 3, 5]),
    )
)
SHAPES = st.tuples(st.integers(2, 3), st.integers(1, 8), st.integers(1, 8))


def build(sets: int, group_size: int, **options: int) -> LSConv:
    layer = golden.fill(LSConv(sets * group_size, group_size=group_size, **options))
    layer.group = group_size
    return layer


@settings(max_examples=60, deadline=None)
@given(options=LAYERS, shape=SHAPES, training=st.booleans(), channels_last=st.booleans())
def test_values_and_gradients_are_unfolds(options, shape, training, channels_last):
    layer = build(**options).double().train(training)
    n, height, width = shape
    x = torch.randn(n, layer.bn.num_features, height, width, dtype=torch.float64)
    if channels_last:
        layer, x = (t.to(memory_format=torch.channels_last) for t in (layer, x))
    x.requires_grad_()
    want = by_unfold(layer, x)
    weights = torch.randn_like(want)
    of = [x, *layer.parameters()]
    wanted = torch.autograd.grad((want * weights).sum(), of)
    got = layer(x)
    gradients = torch.autograd.grad((got * weights).sum(), of)
    for a, b in zip((got, *gradients), (want, *wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7 * max(1, b.abs().max().item()))
    if channels_last:
        assert got.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=40, deadline=None)
@given(
    options=LAYERS,
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    channels_last=st.booleans(),
    folded=st.booleans(),
)
@torch.no_grad()
def test_runs_in_lower_precision(options, dtype, channels_last, folded):
    """Within the precision of the weights and of what is stored between the parts."""
    layer = build(**options).to(dtype).eval()
    # torch's GroupNorm takes the variance of channels-last maps in one pass, and loses digits where
    # all values are near their mean: as in the one channel of one group that this layer normalises.
    assume(not (layer.bn.num_features == 2 and options["small_kernel"] == 1 and channels_last))
    x = torch.randn(2, layer.bn.num_features, 9, 12).to(dtype)
    exact = copy.deepcopy(layer).double()
    want = by_unfold(exact, x.double())
    layer = fold(nn.Sequential(layer)) if folded else layer
    if channels_last:
        layer, x = (t.to(memory_format=torch.channels_last) for t in (layer, x))
    got = layer(x)
    assert (got.dtype, got.shape) == (dtype, x.shape)
    error = (got.double() - want).norm() / want.norm()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]


@pytest.mark.parametrize("training", [False, True])
def test_compiles_whole_for_any_size(training):
    layer = golden.fill(LSConv(16)).train(training)
    graphs = CompileCounterWithBackend("eager")
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=graphs)
    for size in ((8, 9), (12, 8), (21, 30)):
        x = torch.randn(2, 16, *size)
        torch.testing.assert_close(compiled(x), layer(x))
    assert graphs.frame_count == 1


def test_exports_by_torch_alone():
    layer = golden.fill(LSConv(16)).eval()
    x = torch.randn(2, 16, 8, 9)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))


@torch.no_grad()
@pytest.mark.parametrize(("dim", "large", "small", "group"), [(64, 7, 3, 8), (96, 11, 5, 16)])
def test_multiply_adds_are_as_documented(dim, large, small, group):
    layer = LSConv(dim, large, small, group)
    at_a_position = dim**2 * (3 / 4 + small**2 / (2 * group)) + dim * (large**2 / 2 + small**2)
    assert macs(lambda: layer.eval()(torch.randn(1, dim, 6, 7))) == at_a_position * 6 * 7


def test_starts_as_identity_and_leaves_it():
    layer = LSConv(16, bn_weight=0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(layer(x), x)
    for _ in range(2):  # the scale moves first, then what it scales
        layer(x).square().mul(torch.randn_like(x)).mean().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in (layer.bn.weight, layer.lkp.cv4.weight))


def test_config_names_it_with_either_name_of_its_channels():
    for channels in (dict(dim=16), dict(in_channels=16)):
        layer = MODELS.build(dict(type="LSConv", small_kernel=5, **channels))
        assert (type(layer), layer.bn.num_features, layer.lkp.taps) == (LSConv, 16, 25)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(dim=12), "dim must be even and a multiple of group_size 8, got 12"),
        (dict(dim=7, group_size=7), "must be even and a multiple of group_size 7, got 7"),
        (dict(dim=0), "must be even and a multiple of group_size 8, got 0"),
        (dict(in_channels=20), "must be even and a multiple of group_size 8, got 20"),
        (dict(dim=16, group_size=0), "group_size must be positive, got 0"),
        (dict(), "either dim or in_channels, got dim=None, in_channels=None"),
        (dict(dim=16, in_channels=16), "either dim or in_channels, got dim=16, in_channels=16"),
        (dict(dim=16, small_kernel=-1), "small_kernel must be odd, got -1"),
        (dict(dim=16, large_kernel=6), "large_kernel must be odd, got 6"),
        (dict(dim=16, small_kernel=2), "small_kernel must be odd, got 2"),
    ],
)
def test_errors_name_the_argument(kwargs, message):
    with pytest.raises(ValueError, match="LSConv") as raised:
        LSConv(**kwargs)
    assert message in str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_takes_the_place_of_a_convolution(stride, size):
    layer = ls_conv2d(16, 16, 3, stride=stride, padding=1, bias=False, group_size=4).eval()
    x = torch.randn(2, 16, *size)
    conv = nn.Conv2d(16, 16, 3, stride, 1)
    assert layer(x).shape == conv(x).shape
    # The mean of the cells that the map has, then the layer.
    heights, widths = (range(0, s, stride) for s in size)
    cells = [
        [x[:, :, i : i + stride, j : j + stride].mean((2, 3)) for j in widths] for i in heights
    ]
    pooled = torch.stack([torch.stack(row, -1) for row in cells], -2)
    torch.testing.assert_close(layer(x), layer.ls_conv(pooled))
    assert all(k.startswith("ls_conv.") for k in layer.state_dict())


@pytest.mark.parametrize(
    "arguments",
    [
        dict(out_channels=16, kernel_size=1),
        dict(out_channels=32, kernel_size=3, padding=1),
        dict(out_channels=16, kernel_size=3, padding=1, groups=4),
        dict(out_channels=16, kernel_size=7, stride=2, padding=3),
        dict(out_channels=32, kernel_size=3, dilation=2, padding=2),
    ],
)
def test_other_convolutions_stay(arguments):
    layer = ls_conv2d(16, bias=False, group_size=4, **arguments)
    assert type(layer) is nn.Conv2d
    assert layer.bias is None
    for name, value in arguments.items():
        assert getattr(layer, name) in (value, (value, value))


@pytest.mark.parametrize("arguments", [dict(dilation=2, padding=2), dict(padding=0)])
def test_convolutions_it_cannot_replace_are_refused(arguments):
    with pytest.raises(ValueError, match=r"dilation 1 and padding 1, got dilation \(") as raised:
        ls_conv2d(16, 16, 3, **arguments)
    assert "dilations=(1, 1, 1, 1)" in str(raised.value)


def test_mmcvs_conv_module_takes_it():
    module = ConvModule(
        16, 16, 3, stride=2, padding=1, conv_cfg=dict(type="LSConv2d"), norm_cfg=dict(type="BN")
    )
    assert isinstance(module.conv, LSConv2d)
    assert (module.in_channels, module.kernel_size, module.stride) == (16, (3, 3), (2, 2))
    x = torch.randn(2, 16, 9, 8)
    golden.fill(module).eval()
    want = module(x)
    assert want.shape == (2, 16, 5, 4)
    torch.testing.assert_close(fold(module)(x), want, rtol=1e-4, atol=1e-4)
