"""Configs that checkpoints and exported files carry: read and built as data."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from lsnet_mm.deploy import export_onnx
from lsnet_mm.deploy.export import METADATA
from lsnet_mm.errors import InputError, UnsafeFileError
from lsnet_mm.inference import Predictor
from lsnet_mm.loading import carried_config, guarded_loading
from tests.conftest import ROOT, exports
from tests.deploy.test_tool import arguments
from tests.loading.canary import Canary

RECIPES = (
    "mask_rcnn_lsnet_s_coco",
    "lsnet_t_distill_imagenet",
    "upernet_lsnet_b_ade20k",
    "baselines/fpn_repvit_m0_9_ade20k",
)


@pytest.mark.parametrize("name", RECIPES)
def test_what_mmengine_writes_is_read_as_it_would_run(name):
    text = Config.fromfile(ROOT / f"configs/{name}.py").pretty_text
    ran = Config.fromstring(text, ".py")
    with guarded_loading():
        read = Config.fromstring(text, ".py")
    assert read._cfg_dict.to_dict() == ran._cfg_dict.to_dict()
    assert read.pretty_text == ran.pretty_text


def test_literals_of_every_kind_are_read():
    text = "a = [-1, 2.5e-3, None, True, 'x' 'y', (1, ), {'k.1': {3}}]\nb = dict(c=dict(d=()))\n"
    with guarded_loading():
        cfg = Config.fromstring(text, ".py")
    assert cfg.a == [-1, 2.5e-3, None, True, "xy", (1,), {"k.1": {3}}]
    assert cfg.b.c.d == ()


# Texts that make a file {canary} when mmengine runs them.
PROGRAMS = {
    "import": "__import__('pathlib').Path({canary!r}).touch()",
    "call": "a = open({canary!r}, 'w').close()",
    "in a dict": "a = dict(b=[open({canary!r}, 'w').close()])",
    "in a key": "a = {{open({canary!r}, 'w').close(): 1}}",
    "in an f-string": "a = f\"{{open({canary!r}, 'w').close()}}\"",
    "in a default": "def f(a=open({canary!r}, 'w').close()): pass",
    "in a condition": "a = 1 if open({canary!r}, 'w').close() else 2",
    "unpacked": "a = dict(**(open({canary!r}, 'w').close() or {{}}))",
    "base": "_base_ = [{base!r}]",
    "module": "custom_imports = dict(imports=['planted'])",
    "module by itself": "custom_imports = dict(imports='planted')",
}


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """A file that programs make, one of them the module ``planted``."""
    canary = tmp_path / "canary"
    (tmp_path / "planted.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield canary
    sys.modules.pop("planted", None)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_refused(program, canary, tmp_path):
    base = str(tmp_path / "planted.py")
    text = PROGRAMS[program].format(canary=str(canary), base=base) + "\n"
    with guarded_loading(), pytest.raises(UnsafeFileError, match="the config in the checkpoint"):
        Config.fromstring(text, ".py")
    assert not canary.exists()
    with guarded_loading(True):
        Config.fromstring(text, ".py")
    assert canary.exists()


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("a = 1\nopen('x')", "it needs to run \"open('x')\" (line 2 of its text)"),
        ("a = 1 +", "it needs more than data (invalid syntax"),
        ("a = " + "[" * 5000, "it needs more than data ("),
        ("import os", "it needs to run 'import os'"),
        ("a.b = 1", "it needs to run 'a.b = 1'"),
        ("a: open = 1", "it needs to run 'a: open = 1'"),
        ("custom_imports = dict(imports=['os'])", "it needs the module 'os'"),
        ("model = dict(type='subprocess.call')", "it needs the type 'subprocess.call'"),
        ("model = dict(test_cfg=dict(nms=dict(type='exit()')))", "it needs the type 'exit()'"),
        ("model = dict(a=[dict(b=(dict(type='a b'),))])", "it needs the type 'a b'"),
        ("model = dict(type=1)", "it needs the type 1"),
    ],
)
def test_what_is_refused_is_named(text, needs, canary):
    with guarded_loading(), pytest.raises(UnsafeFileError) as raised:
        Config.fromstring(text, ".py")
    assert needs in str(raised.value)
    assert not canary.exists()


def test_other_formats_are_refused(canary):
    text = f"a: !!python/object/apply:builtins.open [{canary}, w]"
    with guarded_loading(), pytest.raises(UnsafeFileError, match=r"in the format '\.yaml'"):
        Config.fromstring(text, ".yaml")
    assert not canary.exists()


# Checkpoints and exported files.


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Config and state dict of a tiny classifier."""
    args = arguments("cls", tmp_path_factory.mktemp("classifier"))
    return Config.fromfile(args.config), torch.load(args.checkpoint)


def save(path: Path, classifier: Any, **changes: Any) -> Path:
    cfg, state = classifier
    cfg = Config(cfg._cfg_dict.to_dict())
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in changes.items()})
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), path)
    return path


def test_a_checkpoint_is_used_with_its_config(classifier, tmp_path):
    path = save(tmp_path / "a.pth", classifier)
    image = np.zeros((128, 128, 3), np.uint8)
    found = Predictor(path)(image)
    wanted = Predictor(path, trust_checkpoint=True)(image)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    # A type may also be written with its modules, as mmengine's lazy configs have it.
    whole = "mmpretrain.models.classifiers.ImageClassifier"
    path = save(tmp_path / "b.pth", classifier, model__type=whole)
    assert Predictor(path).classes == Predictor(tmp_path / "a.pth").classes
    head = "mmdet.models.dense_heads.AnchorHead"  # of another library
    with carried_config(path):
        assert MODELS.get(head).__name__ == "AnchorHead"


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        (dict(model=dict(type="planted", _delete_=True)), None),
        (dict(model__neck__type="planted"), None),
        (
            dict(model__neck=dict(type="mmengine.load", file="{pickle}")),
            "the type 'mmengine.load' of mmengine.fileio",
        ),
        (
            dict(model__neck=dict(type="mmdet.apis.init_detector", config="{config}")),
            "the type 'mmdet.apis.init_detector' of mmdet.apis",
        ),
        (dict(model__neck=dict(_scope_="planted")), "the scope 'planted'"),
        (dict(model__neck=dict(type="HuggingFaceClassifier", model_name="a")), "of mmpretrain"),
        (
            dict(test_dataloader__dataset__pipeline__1=dict(type="torchvision/Lambda", lambd="a")),
            "the type 'torchvision/Lambda'",
        ),
    ],
)
def test_only_parts_of_networks_are_built(changes, needs, classifier, canary, tmp_path):
    """Even where nothing is run to read a config: registries import and call what it names."""
    files = dict(config=tmp_path / "planted.py", pickle=tmp_path / "a.pkl")
    files["pickle"].write_bytes(pickle.dumps(Canary(canary)))
    path = save(tmp_path / "a.pth", classifier, **_fill(changes, files))
    with pytest.raises(UnsafeFileError if needs else InputError) as raised:
        Predictor(path)
    assert not canary.exists()
    assert (needs or "planted is not in the mmpretrain::model registry") in str(raised.value)
    if needs:
        assert f"the config in {path} was not loaded" in str(raised.value)


def _fill(node: Any, files: dict[str, Path]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, files) for key, value in node.items()}
    return node.format(**files) if isinstance(node, str) else node


def test_a_network_runs_no_config(canary, tmp_path):
    """Some of mmdet's take their teacher's config file."""
    with guarded_loading(), carried_config("a.pth"), pytest.raises(UnsafeFileError) as raised:
        Config.fromfile(tmp_path / "planted.py")
    assert "the config in a.pth was not loaded: it needs to run the config " in str(raised.value)
    assert not canary.exists()


def test_a_config_that_the_user_chose_is_free(classifier, canary, tmp_path):
    cfg, state = classifier
    torch.save(state, tmp_path / "net.pth")
    (tmp_path / "own.py").write_text(f"open({str(canary)!r}, 'w').close()\n{cfg.pretty_text}")
    Predictor(tmp_path / "own.py", tmp_path / "net.pth")
    assert canary.exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "a.onnx"
    return export_onnx(torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 8, 8), path)


@exports
@pytest.mark.parametrize(
    ("load", "resize", "needs"),
    [
        (dict(type="subprocess.call", args="{call}"), [], "the type 'subprocess.call'"),
        ({}, [dict(type="subprocess.call", args="{call}")], "the type 'subprocess.call'"),
        (dict(_scope_="planted"), [], "the scope 'planted'"),
    ],
)
def test_exported_files_name_no_functions(load, resize, needs, exported, canary, tmp_path):
    how = dict(load=dict(type="LoadImageFromFile") | load, resize=resize)
    metadata = dict(
        task="classification", outputs=["scores"], classes=[], palette=[], preprocess=how
    )
    text = json.dumps(metadata).replace('"{call}"', json.dumps(["touch", str(canary)]))
    graph = onnx.load(exported)
    onnx.helper.set_model_props(graph, {METADATA: text})
    onnx.save(graph, path := tmp_path / "a.onnx")
    with pytest.raises(UnsafeFileError) as raised:
        Predictor(path)
    assert f"the config in {path} was not loaded: it needs {needs}, " in str(raised.value)
    assert not canary.exists()
    with pytest.raises((TypeError, KeyError)):  # what comes of it is no transform
        Predictor(path, trust_checkpoint=True)
    assert canary.exists()


def test_exported_programs_of_torch_have_to_be_trusted(tmp_path):
    (tmp_path / "a.pt2").write_bytes(b"")
    with pytest.raises(UnsafeFileError, match=r"a\.pt2 was not loaded: it needs torch\.export"):
        Predictor(tmp_path / "a.pt2")
    with pytest.raises(InputError, match=r"a\.pt2 cannot be loaded"):
        Predictor(tmp_path / "a.pt2", trust_checkpoint=True)
