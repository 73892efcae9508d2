"""What must be set before Triton is imported, and fixtures that tests share."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from yapf.yapflib import yapf_api

if not torch.cuda.is_available():  # Triton's kernels then run in its interpreter, on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

import lsnet_mm  # noqa: F401  registers the networks, makes mmcv.ops importable
from lsnet_mm.deploy.export import OLDEST_TORCH

ROOT = Path(__file__).parents[1]

exports = pytest.mark.skipif(
    torch.__version__ < OLDEST_TORCH, reason=f"torch {torch.__version__} cannot export"
)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that kernels are tested on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session", autouse=True)
def _quick_config_texts() -> None:
    """Format each text once: mmengine does it for each log, file and checkpoint of a run."""
    texts, format_code = {}, yapf_api.FormatCode

    def format_once(text: str, **style: Any) -> tuple[str, bool]:
        if text not in texts:
            texts[text] = format_code(text, **style)
        return texts[text]

    yapf_api.FormatCode = format_once


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _make_shapes(folder: Path, *options: str) -> Path:
    command = [sys.executable, "tools/make_shapes.py", str(folder), "--train", "16", "--val", "6"]
    subprocess.run([*command, "--size", "160x120", *options], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Shapes set with its own classes, in COCO's layout."""
    return _make_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def shapes_as_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Shapes set that declares COCO's 80 classes."""
    return _make_shapes(tmp_path_factory.mktemp("data") / "coco", "--coco-classes")


@pytest.fixture(scope="session")
def shapes_as_ade20k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Shapes set in ADE20K's layout."""
    folder = _make_shapes(tmp_path_factory.mktemp("data") / "ade", "--format", "ade20k")
    return folder / "ADEChallengeData2016"


@pytest.fixture(scope="session")
def shapes_as_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Shapes set in ImageNet's layout, with its 1000 classes."""
    options = ("--format", "imagenet", "--imagenet-classes")
    return _make_shapes(tmp_path_factory.mktemp("data") / "imagenet", *options)


@pytest.fixture(scope="session")
def shapes_by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Shapes set in ImageNet's layout, with its own classes."""
    return _make_shapes(tmp_path_factory.mktemp("data") / "classes", "--format", "imagenet")
