"""Loading pretrained backbones: every layout in use, every tensor accounted for."""

import argparse
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from lsnet_mm.errors import CheckpointError
from lsnet_mm.models import LSNet
from tests import golden

TABLE = "blocks4.3.mixer.m.attention_biases"


@pytest.fixture(scope="module")
def classifier() -> dict[str, torch.Tensor]:
    """State dict of the published LSNet-T classifier, distillation head included."""
    shapes = golden.state_dict_shapes()["classifier_lsnet_t_distill"]
    return {
        k: torch.zeros(shape, dtype=torch.long)
        if k.endswith(("idxs", "num_batches_tracked"))
        else golden.weight(k, tuple(shape)).float()
        for k, shape in shapes.items()
    }


def build(checkpoint, **kwargs) -> LSNet:
    model = MODELS.build(
        dict(
            type="LSNet",
            arch="t",
            init_cfg=dict(type="Pretrained", checkpoint=str(checkpoint)),
            **kwargs,
        )
    )
    model.init_weights()
    return model


def assert_is_the_classifiers_backbone(model: LSNet, classifier: dict) -> None:
    for key, value in model.state_dict().items():
        if key.endswith("attention_biases"):
            table = classifier[key].view(1, 4, 4, 4)
            want = F.interpolate(table, size=(14, 14), mode="bicubic").view(4, 196)
            torch.testing.assert_close(value, want)
        elif not key.endswith("attention_bias_idxs"):
            assert torch.equal(value, classifier[key]), key


LAYOUTS = {
    "published": lambda state: {
        "model": state,
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 299,
        "args": argparse.Namespace(model="lsnet_t", lr=1e-3),
    },
    "bare": lambda state: state,
    "distributed": lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
    "mmpretrain": lambda state: {
        "meta": {"epoch": 300},
        "state_dict": {
            ("head." if k.startswith("head") else "backbone.") + k: v for k, v in state.items()
        },
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_takes_every_layout(layout, classifier, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(LAYOUTS[layout](classifier), path)
    assert_is_the_classifiers_backbone(build(path), classifier)


def test_published_layout_needs_no_arbitrary_unpickling(classifier, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(LAYOUTS["published"](classifier), path)
    load, loaded = torch.load, []

    def weights_only(*args, **kwargs):
        loaded.append(load(*args, **{**kwargs, "weights_only": True}))
        return loaded[-1]

    monkeypatch.setattr(torch, "load", weights_only)
    assert_is_the_classifiers_backbone(build(path), classifier)
    assert loaded[-1]["args"].model == "lsnet_t"


def test_takes_fewer_stages_than_the_file_holds(classifier, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(LAYOUTS["published"](classifier), path)
    assert_is_the_classifiers_backbone(build(path, out_indices=(0, 1)), classifier)


def test_takes_our_own_dense_weights_unchanged(tmp_path):
    path, model = tmp_path / "dense.pth", golden.fill(LSNet("t"))
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in model.state_dict().items()}}, path)
    loaded = build(path).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in model.state_dict().items())


def test_downloads_from_a_url(classifier, tmp_path, monkeypatch):
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save(LAYOUTS["published"](classifier), folder / "lsnet_t.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert_is_the_classifiers_backbone(build(f"{url}/lsnet_t.pth"), classifier)
        with pytest.raises(CheckpointError, match=r"Could not download .*/none\.pth"):
            build(f"{url}/none.pth")
        server.shutdown()


def test_unreachable_url_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"init_cfg\.checkpoint=PATH"):
        build("http://127.0.0.1:9/lsnet_t.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        build(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 truncated"])
def test_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read as a torch checkpoint"):
        build(path)


def spoil(state: dict, how: str) -> object:
    state = dict(state)
    if how == "missing":
        del state["blocks2.0.c.weight"]
    elif how == "extra":
        state["blocks2.9.c.weight"] = torch.zeros(1)
    elif how == "shape":
        state["blocks2.0.c.weight"] = torch.zeros(64, 1, 5, 5)
    elif how == "kind":
        state["blocks2.0.c.weight"] = torch.zeros(64, 1, 3, 3, dtype=torch.int64)
    elif how == "values":
        state["blocks2.0.c.weight"] = torch.zeros(64, 1, 3, 3).to_sparse()
    elif how == "heads":
        state[TABLE] = torch.zeros(3, 16)
    elif how == "not square":
        state[TABLE] = torch.zeros(4, 15)
    elif how == "other model":
        state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    elif how == "no state dict":
        return [1, 2]
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 tensors missing (first: blocks2.0.c.weight)"),
        ("extra", "1 tensors not part of it (first: blocks2.9.c.weight)"),
        ("shape", "blocks2.0.c.weight is (64, 1, 5, 5), not (64, 1, 3, 3)"),
        ("kind", "blocks2.0.c.weight is of torch.int64, not of torch.float32"),
        ("values", "blocks2.0.c.weight is sparse, nested, quantised or without values"),
        ("heads", f"{TABLE} is (3, 16), not (4, 196)"),
        ("not square", f"{TABLE} is (4, 15), not (4, 196)"),
        ("other model", "It holds no LSNet at all"),
        ("no state dict", "no state dict in the checkpoint, but list"),
    ],
)
def test_what_does_not_fit_is_refused_whole(how, message, classifier, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(spoil(classifier, how), path)
    model = MODELS.build(
        dict(type="LSNet", arch="t", init_cfg=dict(type="Pretrained", checkpoint=str(path)))
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as raised:
        model.init_weights()
    assert message in str(raised.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_weights_of_another_size_are_recognised(tmp_path):
    path = tmp_path / "s.pth"
    torch.save(LSNet("s").state_dict(), path)
    with pytest.raises(CheckpointError, match="It looks like arch='s'"):
        build(path)
