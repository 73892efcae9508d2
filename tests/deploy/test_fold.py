"""Folded networks: the same outputs from fewer layers."""

import copy

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lsnet_mm.deploy import fold
from lsnet_mm.models import LSNet
from lsnet_mm.models.layers import RepVGGDW
from tests import golden
from tests.configs.recipes import read

FOLDED_PARAMETERS = {"t": 11_370_488, "s": 16_098_232, "b": 23_249_320}


def close(folded: torch.Tensor, output: torch.Tensor) -> None:
    """Compare to 1e-4 of the output's deviation."""
    atol = 1e-4 * output.float().std().item()
    torch.testing.assert_close(folded, output, rtol=0, atol=atol)


@torch.no_grad()
@pytest.mark.parametrize("arch", "tsb")
def test_backbone(arch):
    model = golden.fill(LSNet(arch)).eval()
    x = golden.images(0, (2, 3, 96, 128))
    want = model(x)
    folded = fold(model)
    assert folded is model
    for got, output in zip(model(x), want, strict=True):
        close(got, output)
    assert not any(isinstance(m, RepVGGDW) for m in model.modules())
    left = {n for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    assert all(n.endswith("mixer.bn") for n in left)  # these follow no convolution


@torch.no_grad()
def test_folding_twice_changes_nothing():
    model = fold(golden.fill(LSNet("t")))
    before = copy.deepcopy(model.state_dict())
    after = fold(model).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@torch.no_grad()
@pytest.mark.parametrize("arch", "tsb")
@pytest.mark.parametrize("kind", ["", "_distill"])
def test_classifier(arch, kind):
    model = golden.fill(MODELS.build(config(f"lsnet_{arch}{kind}_imagenet"))).eval()
    x = golden.images(224, (2, 3, 224, 224))
    want = model(x)
    close(fold(model)(x), want)
    assert sum(p.numel() for p in model.parameters()) == FOLDED_PARAMETERS[arch]


def config(name: str) -> dict:
    cfg = read(name)
    init_default_scope(cfg.default_scope)
    return cfg.model


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        "retinanet_lsnet_t_coco",
        "mask_rcnn_lsnet_t_coco",
        "retinanet_lsnet_t_shapes",  # BatchNorm in the neck, GroupNorm in the head
        "fpn_lsnet_t_ade20k",
        "upernet_lsnet_t_ade20k",
    ],
)
def test_detectors_and_segmentors(name):
    model = golden.fill(revert_sync_batchnorm(MODELS.build(config(name)))).eval()
    x = golden.images(1, (1, 3, 128, 160))
    want = outputs(model, x)
    for got, output in zip(outputs(fold(model), x), want, strict=True):
        close(got, output)
    left = {n for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    assert all(n.endswith("mixer.bn") for n in left)


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Raw outputs of the first head."""
    maps = model.extract_feat(x)
    head = next(
        getattr(model, n) for n in ("bbox_head", "rpn_head", "decode_head") if hasattr(model, n)
    )
    found = head(maps)
    return [found] if isinstance(found, torch.Tensor) else [m for level in found for m in level]


@torch.no_grad()
@pytest.mark.parametrize("peer", ["mobilenetv3_large", "repvit_m0_9"])
def test_other_backbones_are_left_alone_and_their_necks_folded(peer):
    """timm's BatchNorms may hold the activation, or follow a sum."""
    cfg = read(f"baselines/retinanet_{peer}_coco").model
    cfg.backbone.pretrained = False
    cfg.neck.norm_cfg = dict(type="BN")
    model = golden.fill(MODELS.build(cfg)).eval()
    x = golden.images(1, (1, 3, 96, 128))
    want = model.extract_feat(x)
    for got, output in zip(fold(model).extract_feat(x), want, strict=True):
        close(got, output)
    assert not any(isinstance(m, _BatchNorm) for m in model.neck.modules())
    assert any(isinstance(m, _BatchNorm) for m in model.backbone.modules())
