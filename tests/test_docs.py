"""The README and the pages of docs/: their commands, paths, examples, and the site made of them."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from lsnet_mm.datasets.shapes import make_scene
from lsnet_mm.deploy.tool import export
from lsnet_mm.inference import Predictor
from lsnet_mm.models import LSNet
from tests.conftest import ROOT, exports
from tests.deploy.test_tool import arguments

PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
BLOCKS = [
    (name, language, text)
    for name, page in PAGES.items()
    for language, text in re.findall(
        r"^```(python|bash)\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
]
BASH = "".join(text for _, language, text in BLOCKS if language == "bash").replace("\\\n", " ")
CALL = re.compile(r"^(?:\w+=\S+ )*(?:python )?(tools/\w+\.(?:py|sh)) (.*)$", re.MULTILINE)
WRITTEN = {"configs/retinanet_lsnet_t_own.py"}  # by the commands of own_data.md
# The tool behind a script, and where its arguments are among the script's.
SCRIPTS = {
    "dist_train": ("train", lambda a: [a[0], *a[2:]]),
    "dist_test": ("test", lambda a: [*a[:2], *a[3:]]),
    "slurm_train": ("train", lambda a: [a[2], "--work-dir", a[3], *a[4:]]),
    "slurm_test": ("test", lambda a: a[2:]),
}


def example(page: str, part: str) -> str:
    """The one Python block of a page that holds ``part``."""
    (text,) = (t for name, kind, t in BLOCKS if (name, kind) == (page, "python") and part in t)
    return text


@pytest.mark.parametrize(("tool", "arguments"), sorted(set(CALL.findall(BASH))))
def test_commands_are_what_the_tools_take(tool, arguments, monkeypatch):
    name, args = Path(tool).stem, shlex.split(arguments, comments=True)
    if name in SCRIPTS:
        name, choose = SCRIPTS[name]
        args = choose(args)
    monkeypatch.syspath_prepend(ROOT / "tools")
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [tool, *args])
    module.parse_args()


def test_commands_are_found():
    assert len(CALL.findall(BASH)) > 60


@pytest.mark.parametrize(
    "path",
    sorted({p for t in PAGES.values() for p in re.findall(r"\b(?:tools|configs)/[\w./]+\w", t)}),
)
def test_files_they_name_exist(path):
    assert path in WRITTEN or (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([\w-]+)", BASH, re.MULTILINE))))
def test_make_targets_they_name_exist(target):
    assert re.search(
        rf"^[\w -]*\b{target}\b[\w -]*:", (ROOT / "Makefile").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("part", ["out_indices=(1, 2, 3)", "torchvision.models", "LSConv"])
def test_examples_print_what_they_say(part, capsys):
    text = example("elsewhere.md", part)
    exec(text, {"__name__": part})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.*)", text, re.MULTILINE)


def test_backbone_example_loads_published_weights(tmp_path, monkeypatch):
    published = LSNet("t")
    (tmp_path / "pretrain").mkdir()
    torch.save({"model": published.state_dict()}, tmp_path / "pretrain/lsnet_t.pth")
    monkeypatch.chdir(tmp_path)
    names = {"LSNet": LSNet}
    exec(example("elsewhere.md", "backbone.init_weights()"), names)
    for name, tensor in names["backbone"].state_dict().items():
        assert torch.equal(tensor, published.state_dict()[name])


@pytest.mark.parametrize(
    ("page", "part"), [("elsewhere.md", "SegformerHead"), ("getting_started.md", "_base_")]
)
def test_config_examples_build_and_run(page, part, tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "mine.py").write_text(example(page, part))
    cfg = Config.fromfile(tmp_path / "mine.py")
    assert cfg.train_dataloader.batch_size == 4
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 96), mode="tensor")


def test_library_configs_with_lsnet_are_the_same_by_all_ways(tmp_path):
    """compatibility.md's and elsewhere.md's: in Python, by `changes`, by a second base."""
    made: dict[str, Config] = {}
    exec(example("compatibility.md", "cfg = use_in"), made)
    for part in ("globals()", "lsnet_fpn)\n"):
        (tmp_path / "mine.py").write_text(example("compatibility.md", part))
        assert Config.fromfile(tmp_path / "mine.py").model == made["cfg"].model
    exec(example("elsewhere.md", "cfg = use_in"), made)
    (tmp_path / "mine.py").write_text(example("elsewhere.md", "lsnet_channels, start_level=0"))
    assert Config.fromfile(tmp_path / "mine.py").model == made["cfg"].model


@exports
def test_plain_onnxruntime_detects_what_torch_detects(tmp_path):
    """deployment.md's code, in a process without torch, against the checkpoint's own pipeline."""
    args = arguments("det", tmp_path, size=(160, 224))
    scale = (224, 160)  # as the file's size: no image is resized to others
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=scale, keep_ratio=True),
        dict(
            type="PackDetInputs",
            meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        ),
    ]
    with open(args.config, "a") as file:
        file.write(f"test_dataloader = dict(dataset=dict(pipeline={pipeline!r}))\n")
    args.out = str(tmp_path / "retinanet_lsnet_t_coco.onnx")
    export(args)
    Image.fromarray(make_scene(scale, 0, "val", 0).image).save(tmp_path / "image.png")

    code = example("deployment.md", "onnxruntime.InferenceSession") + (
        "import sys\n"
        "assert not {'torch', 'mmcv', 'mmengine', 'lsnet_mm'} & set(sys.modules)\n"
        "np.savez('found.npz', boxes=boxes, scores=scores, labels=labels)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    wanted = Predictor(args.config, args.checkpoint)(tmp_path / "image.png")
    kept = found["scores"] > 0
    assert kept.sum() == len(wanted.scores) > 0
    np.testing.assert_allclose(found["scores"][kept], wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found["boxes"][kept], wanted.boxes, atol=0.05)
    np.testing.assert_array_equal(found["labels"][kept], wanted.labels)


def test_site_builds_without_warnings_and_asks_nothing_of_the_network(tmp_path):
    """Sphinx warns of broken links and anchors, of pages in no list, of names without a page."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", tmp_path / "trees"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*command, ROOT / "docs", site], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    pages = list(site.rglob("*.html"))
    assert {"index.html", "troubleshooting.html", "models.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]*)", text)
        loaded += re.findall(r"<link[^>]* rel=\"stylesheet\"[^>]* href=\"([^\"]*)", text)
        assert loaded
        assert not [address for address in loaded if "//" in address], page
