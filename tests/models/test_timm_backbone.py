"""timm's feature extractors as backbones: the maps are timm's, the training is LSNet's."""

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lsnet_mm.errors import CheckpointError, InputError
from lsnet_mm.models import TimmFeatures

FINEST = {  # index of the map at stride 4
    "mobilenetv3_large_100.ra_in1k": 1,
    "efficientnet_lite0.ra_in1k": 1,
    "tiny_vit_5m_224.in1k": 0,
    "repvit_m0_9.dist_300e_in1k": 0,
}
SMALL = "mobilenetv3_small_050.lamb_in1k"
FETCH = "timm.models._builder.load_state_dict_from_hf"


def build(name: str, **kwargs) -> TimmFeatures:
    first = FINEST.get(name, 1)
    indices = tuple(range(first, first + 4))
    return MODELS.build(
        dict(dict(type="TimmFeatures", model_name=name, out_indices=indices), **kwargs)
    )


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize("name", FINEST)
@torch.no_grad()
def test_gives_timms_maps_at_any_size(name):
    model = build(name).eval()
    theirs = timm.create_model(name, features_only=True).eval()
    theirs.load_state_dict(model.timm_model.state_dict())
    assert model.strides == (4, 8, 16, 32)
    for height, width in ((64, 96), (101, 131), (33, 250)):
        x = torch.randn(1, 3, height, width)
        maps = model(x)
        assert [tuple(m.shape) for m in maps] == [
            (1, c, -(-height // s), -(-width // s))
            for c, s in zip(model.out_channels, model.strides, strict=True)
        ]
        for got, want in zip(maps, theirs(x)[-4:], strict=True):
            assert torch.equal(got, want)


@torch.no_grad()
def test_tinyvit_takes_a_detectors_images():
    """Its windows of 7x7 do not fit these maps: it pads them."""
    model = build("tiny_vit_5m_224.in1k").eval()
    maps = model(torch.randn(1, 3, 800, 1344))
    assert [tuple(m.shape[2:]) for m in maps] == [(200, 336), (100, 168), (50, 84), (25, 42)]
    assert all(m.isfinite().all() for m in maps)


def test_maps_asked_for_are_those_returned():
    model = build(SMALL, out_indices=(2, 4))
    assert model.strides == (8, 32)
    maps = model(torch.randn(2, 3, 64, 64))
    assert [m.shape[1] for m in maps] == list(model.out_channels)
    assert [m.shape[2] for m in maps] == [8, 2]


@pytest.mark.parametrize("name", FINEST)
def test_training_freezes_statistics_and_nothing_else(name):
    model = build(name).eval().train()
    norms = batch_norms(model)
    assert norms
    assert not any(m.training for m in norms)
    assert model.training
    assert model.timm_model.training
    before = [m.running_mean.clone() for m in norms]
    sum(m.square().mean() for m in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(torch.equal(m.running_mean, b) for m, b in zip(norms, before, strict=True))
    assert all(p.grad is not None for p in model.parameters())


def test_statistics_are_trained_on_request():
    model = build(SMALL, norm_eval=False).train()
    norms = batch_norms(model)
    assert all(m.training for m in norms)
    before = norms[0].running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert not torch.equal(norms[0].running_mean, before)


def test_weights_are_fetched_by_init_weights_only(monkeypatch):
    classifier = timm.create_model(SMALL)
    for m in batch_norms(classifier):
        m.running_mean.normal_()
    state, fetched = classifier.state_dict(), []

    def fetch(repo: str, *_, **__) -> dict:
        fetched.append(repo)
        return dict(state)

    monkeypatch.setattr(FETCH, fetch)
    model = build(SMALL, pretrained=True)
    assert not fetched
    model.init_weights()
    assert fetched == [f"timm/{SMALL}"]
    for key, value in model.timm_model.state_dict().items():
        assert torch.equal(value, state[key]), key

    own = build(SMALL)
    before = {k: v.clone() for k, v in own.state_dict().items()}
    own.init_weights()
    assert len(fetched) == 1
    assert all(torch.equal(v, before[k]) for k, v in own.state_dict().items())


def test_weights_reach_a_network_that_renames_its_layers(monkeypatch):
    """Where timm's feature extractor has other names for its weights than the whole network."""
    name = "repvit_m0_9.dist_300e_in1k"
    classifier = timm.create_model(name)
    monkeypatch.setattr(FETCH, lambda *_, **__: classifier.state_dict())
    model = build(name, pretrained=True)
    model.init_weights()
    ours, theirs = model.eval(), classifier.eval()
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 64)
        assert torch.equal(ours(x)[-1], theirs.forward_features(x))


def test_weights_that_cannot_be_fetched_are_an_error(monkeypatch):
    def fetch(*_, **__) -> dict:
        raise OSError("no route to host")

    monkeypatch.setattr(FETCH, fetch)
    model = build(SMALL, pretrained=True)
    with pytest.raises(CheckpointError, match=r"of mobilenetv3_small.*no route.*pretrained=False"):
        model.init_weights()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenetv3_larg_100", r"no model 'mobilenetv3_larg_100' \(like it: .*v3_large_100"),
        ("?", r"no model '\?'$"),
        ("weights/repvit.pth", "no model 'weights/repvit.pth'"),
        ("repvit_m0_9.mine", "could not make repvit_m0_9.mine .*tag"),
    ],
)
def test_unknown_name_is_an_error(name, message):
    with pytest.raises(InputError, match=message):
        build(name)


def test_map_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match=r"repvit_m0_9 has no maps \(1, 4\)"):
        build("repvit_m0_9", out_indices=(1, 4))
