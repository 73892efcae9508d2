"""The backbone against the authors' numbers, and what its arguments do."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lsnet_mm.models import LSNet
from tests import golden

PARAMETERS = {"t": 11_027_664, "s": 15_700_008, "b": 22_803_184}
TINY = dict(channels=(16, 16, 16, 16), depths=(1, 2, 2, 2))


def tiny(**kwargs) -> LSNet:
    return golden.fill(LSNet(TINY, **{"resolution": 4, **kwargs}))


@pytest.mark.parametrize("arch", "tsb")
def test_has_the_published_state_dict(arch):
    model = LSNet(arch)
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    assert shapes == golden.state_dict_shapes()[f"backbone_lsnet_{arch}"]
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


@pytest.mark.parametrize("arch", "tsb")
@pytest.mark.parametrize(("height", "width"), [(224, 224), (256, 320), (224, 480)])
@torch.no_grad()
def test_gives_the_authors_outputs(arch, height, width):
    model = golden.fill(LSNet(arch)).eval()
    outs = model(golden.images(height * 10000 + width, (1, 3, height, width)))
    for i, out in enumerate(outs):
        prefix = f"eval_{height}x{width}/out{i}"
        golden.assert_matches(out, golden.load(f"backbone_lsnet_{arch}"), prefix)


@pytest.mark.parametrize("with_cp", [False, True])
def test_gives_the_authors_gradients(with_cp):
    numbers = golden.load("backbone_lsnet_t_train")
    model = golden.fill(LSNet("t", with_cp=with_cp)).train()
    # An input that requires a gradient has the very first block recomputed as well.
    outs = model(golden.images(7, (2, 3, 224, 288)).requires_grad_())
    loss = sum(
        (out * golden.images(100 + i, tuple(out.shape))).mean() for i, out in enumerate(outs)
    )
    loss.backward()
    assert abs(loss.item() - numbers["loss"]) < 1e-6
    norms = {k.removeprefix("grad_norm/"): v for k, v in numbers.items() if k != "loss"}
    got = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    assert got.keys() == norms.keys()
    for name, norm in norms.items():
        assert got[name] == pytest.approx(norm, rel=1e-4), name


@pytest.mark.parametrize("scope", ["mmengine", "mmdet", "mmseg", "mmpretrain"])
def test_resolves_from_every_library(scope):
    registry = MODELS
    if scope != "mmengine":
        registry = __import__(f"{scope}.registry", fromlist=["MODELS"]).MODELS
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(registry.build(dict(type="LSNet", arch=TINY)), LSNet)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 2), height=st.integers(1, 150), width=st.integers(1, 150))
@torch.no_grad()
def test_takes_any_size(n, height, width):
    outs = tiny().eval()(torch.randn(n, 3, height, width))
    for i, out in enumerate(outs):
        stride = 8 * 2**i
        assert out.shape == (n, 16, -(-height // stride), -(-width // stride))
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("out_indices", [(0,), (1, 2), (0, 3)])
@torch.no_grad()
def test_out_indices_are_those_of_the_whole_network(out_indices):
    x = torch.randn(1, 3, 64, 96)
    whole, part = tiny().eval(), tiny(out_indices=out_indices).eval()
    outs = part(x)
    for i, out in zip(out_indices, outs, strict=True):
        torch.testing.assert_close(out, whole(x)[i])
    assert part.num_stages == max(out_indices) + 1
    assert not hasattr(part, f"blocks{max(out_indices) + 2}")


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2, 4])
def test_frozen_stages_neither_learn_nor_update(frozen_stages):
    model = tiny(frozen_stages=frozen_stages, norm_eval=False).train()
    names = ["patch_embed", *(f"blocks{i + 1}" for i in range(4))]
    frozen = names[: frozen_stages + 1]
    before = copy.deepcopy(model.state_dict())
    parameters = [p for p in model.parameters() if p.requires_grad]
    if parameters:
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        sum(out.square().mean() for out in model(torch.randn(4, 3, 128, 128))).backward()
        optimizer.step()
    for key, value in model.state_dict().items():
        part = key.split(".")[0]
        if part in frozen:
            assert torch.equal(value, before[key]), key
        elif key.endswith("running_mean"):
            assert not torch.equal(value, before[key]), key
    assert {k.split(".")[0] for k, p in model.named_parameters() if p.requires_grad} == set(
        names
    ) - set(frozen)


@pytest.mark.parametrize("norm_eval", [True, False])
def test_norm_eval_freezes_statistics_but_not_scales(norm_eval):
    model = tiny(norm_eval=norm_eval).train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert all(m.training != norm_eval for m in norms)
    assert all(m.weight.requires_grad for m in norms)
    assert not any(m.training for m in norms if not model.eval().training)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_runs_in_other_dtypes(dtype):
    model, x = tiny().eval(), torch.randn(1, 3, 96, 64)
    want = model(x)
    for got, expected in zip(model.to(dtype)(x.to(dtype)), want, strict=True):
        assert got.dtype == dtype
        error = (got.float() - expected).std() / expected.std()
        assert error < (0.1 if dtype == torch.bfloat16 else 1e-5)


def test_trains_under_autocast():
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        outs = model(torch.randn(2, 3, 96, 96))
    sum(out.float().square().mean() for out in outs).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.patch_embed.parameters())


@torch.no_grad()
def test_runs_in_channels_last():
    model, x = tiny().eval(), torch.randn(2, 3, 96, 96)
    want = model(x)
    channels_last = model.to(memory_format=torch.channels_last)
    for got, expected in zip(
        channels_last(x.to(memory_format=torch.channels_last)), want, strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_compiles_whole_with_its_gradients_for_any_size():
    """Every map comes out; tests/models/test_compile.py has whole networks, and inference."""
    # One block of each kind: tracing takes seconds per block.
    model = golden.fill(LSNet(dict(TINY, depths=(0, 2, 0, 2)), resolution=4))
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, width in ((64, 96), (128, 64)):
        x = torch.randn(2, 3, height, width)
        for got, expected in zip(compiled(x), model(x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_initialises_residual_branches_to_zero():
    model = LSNet(TINY, resolution=4)
    scales = {k: v for k, v in model.named_parameters() if "pw2.bn.weight" in k or "proj.1.bn" in k}
    assert scales
    assert all((v == 0).all() for v in scales.values())
    assert all(
        (m.weight == 1).all()
        for name, m in model.named_modules()
        if isinstance(m, nn.BatchNorm2d) and not name.endswith(("pw2.bn", "proj.1.bn"))
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="x"), "arch must be one of t, s, b or a dict, got 'x'"),
        (dict(arch=dict(channels=(8,) * 4)), "'channels' and 'depths', 4 of each"),
        (dict(arch=dict(channels=(8, 8, 8, 12), depths=(1,) * 4)), "multiples of 8"),
        (dict(arch=dict(channels=(8, 8, 8), depths=(1,) * 4)), "4 of each"),
        (dict(out_indices=(0, 4)), "out_indices must be increasing, out of 0 to 3, got (0, 4)"),
        (dict(out_indices=()), "out_indices"),
        (dict(frozen_stages=5), "frozen_stages must be -1 to 4, got 5"),
    ],
)
def test_errors_name_the_argument(kwargs, message):
    with pytest.raises(ValueError, match="LSNet: ") as raised:
        LSNet(**kwargs)
    assert message in str(raised.value)


def test_golden_weights_do_not_depend_on_order():
    """The helper itself: equal names and shapes give equal values, others give others."""
    a, b = golden.weight("x.c.weight", (4, 4)), golden.weight("x.c.weight", (4, 4))
    assert torch.equal(a, b)
    assert not np.allclose(a, golden.weight("y.c.weight", (4, 4)))
