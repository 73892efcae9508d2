"""The examples, names and numbers of docs/ls_convolution.md, as they stand there."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lsnet_mm.models import LSConv, LSConv2d
from tests.conftest import ROOT, exports

DOC = ROOT / "docs/ls_convolution.md"
TEXT = DOC.read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CONFIGS = [block for block in PYTHON if "_base_" in block]
PROGRAMS = [block for block in PYTHON if "_base_" not in block]
LIGHT = """
import sys
from mmengine.registry import MODELS
assert all(MODELS.get(name) for name in ("LSConv", "LSConv2d", "LSConvVisionTransformer"))
assert not {"mmcv", "mmdet", "mmseg", "mmpretrain", "timm"} & set(sys.modules)
"""


@exports
def test_programs_print_what_they_say(tmp_path):
    """One after the other, as they are read; the first alone imports none of mm's libraries."""
    program = "\n".join([PROGRAMS[0], LIGHT, *PROGRAMS[1:]])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = re.findall(r"^# (.+)", program, re.MULTILINE)
    assert run.stdout.strip().splitlines() == said
    assert (tmp_path / "network.onnx").is_file()


def detector(config: str, folder: Path) -> Config:
    """A config of the document's as a file."""
    (folder / "detector.py").write_text(config)
    cfg = Config.fromfile(folder / "detector.py")
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    cfg = Config.fromfile(ROOT / "configs/resnet50_lsconv_imagenet.py")
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def test_plugin_example_trains(tmp_path):
    from mmdet.testing import demo_mm_inputs

    cfg = detector(CONFIGS[0], tmp_path)
    assert cfg.model.backbone.init_cfg.checkpoint == "torchvision://resnet50"
    assert cfg.model.backbone.frozen_stages == 1  # the first stage, which has none of ours
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train()
    layers = {n: m for n, m in model.backbone.named_modules() if isinstance(m, LSConv)}
    assert len(layers) == 4 + 6 + 3
    assert all(n.endswith(".ls_conv") and not n.startswith("layer1") for n in layers)
    assert all(layer.bn.training and not layer.bn.weight.any() for layer in layers.values())
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 64, 96]]), True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(layer.bn.weight.grad.abs().sum() > 0 for layer in layers.values())


def test_classifiers_weights_become_a_detectors_backbone(classifier, tmp_path):
    cfg = detector(CONFIGS[1], tmp_path)
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / "weights.pth")
    assert cfg.model.backbone.init_cfg.type == "Pretrained"
    assert Path(cfg.model.backbone.init_cfg.checkpoint).name == "epoch_310.pth"
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / "weights.pth")
    backbone = MODELS.build(cfg.model).backbone
    assert sum(isinstance(m, LSConv2d) for m in backbone.modules()) == 16
    backbone.init_weights()
    weights, loaded = classifier.backbone.state_dict(), backbone.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[k], loaded[k]) for k in weights)


def test_options_are_those_of_the_layer():
    rows = re.findall(r"^\| `(\w+)` \| (\d*) ?\|", TEXT, re.MULTILINE)
    parameters = dict(inspect.signature(LSConv).parameters)
    del parameters["in_channels"]  # in dim's row
    assert rows == [
        (name, "" if p.default is None else f"{p.default:g}") for name, p in parameters.items()
    ]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_links_lead_somewhere(link):
    assert (DOC.parent / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:tools|configs)/[\w./]+\w", TEXT))))
def test_files_it_names_exist(path):
    assert (ROOT / path).exists()
