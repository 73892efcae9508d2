"""The neck against the authors' numbers and against mmdet's FPN."""

import copy

import pytest
import torch
from mmdet.models.necks import FPN
from mmengine.registry import MODELS

from lsnet_mm.models import LSNet, LSNetFPN
from tests import golden

CHANNELS = [64, 128, 256, 384]
SETTINGS = {
    "retinanet": dict(num_outs=5, add_extra_convs="on_input"),
    "mask_rcnn": dict(num_outs=5, num_extra_trans_convs=1),
    "semantic_fpn": dict(num_outs=4),
}


@pytest.fixture(scope="module")
def features() -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return golden.fill(LSNet("t")).eval()(golden.images(5, (1, 3, 256, 320)))


@pytest.mark.parametrize("name", SETTINGS)
@torch.no_grad()
def test_gives_the_authors_outputs(name, features):
    neck = MODELS.build(
        dict(type="LSNetFPN", in_channels=CHANNELS, out_channels=256, **SETTINGS[name])
    )
    shapes = {k: list(v.shape) for k, v in neck.state_dict().items()}
    assert shapes == golden.state_dict_shapes()[f"neck_{name}_t"]
    outs = golden.fill(neck)(features)
    numbers = golden.load("neck_lsnet_t")
    assert len(outs) == SETTINGS[name]["num_outs"]
    for i, out in enumerate(outs):
        golden.assert_matches(out, numbers, f"{name}/out{i}")


@torch.no_grad()
def test_without_extra_levels_is_mmdets_fpn(features):
    args = (CHANNELS, 32)
    kwargs = dict(num_outs=6, start_level=1, add_extra_convs="on_output")
    ours, theirs = golden.fill(LSNetFPN(*args, **kwargs)), golden.fill(FPN(*args, **kwargs))
    for got, want in zip(ours(features), theirs(features), strict=True):
        torch.testing.assert_close(got, want)


def test_two_extra_levels_halve_the_stride_twice(features):
    neck = LSNetFPN(CHANNELS, 16, num_outs=6, num_extra_trans_convs=2, norm_cfg=dict(type="BN"))
    outs = neck(features)
    assert [tuple(o.shape[2:]) for o in outs] == [
        (128, 160), (64, 80), (32, 40), (16, 20), (8, 10), (4, 5)
    ]  # fmt: skip
    outs[0].sum().backward()
    assert all(p.grad is not None for p in neck.extra_trans_convs.parameters())
    assert neck.extra_fpn_convs[1].conv.weight.grad is None  # each level has a conv of its own


def test_survives_copying_and_keeps_no_features(features):
    neck = golden.fill(LSNetFPN(CHANNELS, 16, num_outs=5, num_extra_trans_convs=1))
    twin = copy.deepcopy(neck)
    with torch.no_grad():
        twin.fpn_convs[0].conv.weight.zero_()
        for got, want in zip(twin(features)[1:], neck(features)[1:], strict=True):
            assert got.shape == want.shape
    assert neck._finest is None
    assert twin._finest is None
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(features)[0], neck(features)[0])


@pytest.mark.parametrize(("num_outs", "extra"), [(4, 1), (3, 0), (5, -1)])
def test_too_few_levels_is_an_error(num_outs, extra):
    with pytest.raises(ValueError, match=f"LSNetFPN: num_outs {num_outs}"):
        LSNetFPN(CHANNELS, 16, num_outs=num_outs, num_extra_trans_convs=extra)
