"""Inference of many sizes: nothing is kept per size without bound."""

import subprocess
import sys

import numpy as np
import pytest

from lsnet_mm.inference import Predictor
from tests.conftest import ROOT
from tests.engine.test_memory import live_tensors

# Images as they are: the test pipelines would bring them to a few sizes.
AS_THEY_ARE = [
    "test_dataloader.dataset.pipeline.1.scale=None",
    "test_dataloader.dataset.pipeline.1.scale_factor=1.0",
]


def predict(predictor: Predictor, count: int, random: np.random.Generator) -> None:
    for height, width in random.integers(32, 640, (count, 2)):
        predictor(random.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("task", ["det", "seg"])
def test_no_tensors_are_kept_by_size(task, networks):
    files = networks(task)
    predictor = Predictor(files.config, files.checkpoint, cfg_options=AS_THEY_ARE)
    random = np.random.default_rng(0)
    counts = []
    for _ in range(2):
        predict(predictor, 60, random)
        counts.append(live_tensors())
    assert counts[0] == counts[1]


def test_tool_tells_memory(networks):
    files = networks("cls")
    command = [sys.executable, "tools/long_run.py", str(files.config), "--count", "20"]
    command += ["--checkpoint", str(files.checkpoint), "--sides", "32", "64"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines[-11:-1]] == [str(n) for n in range(2, 21, 2)]
    assert "grows by " in lines[-1]
    assert "MiB in 1,000 images; peak " in lines[-1]
