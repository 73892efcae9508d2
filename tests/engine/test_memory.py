"""What memory is told of a run, and that iterations leave nothing behind."""

import gc
import json
import re
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from lsnet_mm.engine.memory import growth, workers
from tests.conftest import ROOT
from tests.engine.test_run import SHAPES, arguments, run_test, run_train

MIB = 1 << 20


def live_tensors() -> int:
    """Tensors that Python holds."""
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


# A process of its own: the system takes back pages of libraries that a long-lived one has not
# used for a while, at any moment.
ALLOCATE = """
import numpy as np
from lsnet_mm.engine.memory import peak, resident

before = resident()
block = np.ones(200 << 20, np.uint8)
with_block = resident()
del block
print(with_block - before, resident() - before, peak() - with_block)
"""


def test_resident_and_peak_follow_what_is_allocated():
    printed = subprocess.run(
        [sys.executable, "-c", ALLOCATE], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    taken, left, above = map(float, printed.splitlines()[-1].split())
    assert taken == pytest.approx(200, abs=5)
    assert left == pytest.approx(0, abs=5)
    assert -1 <= above < 5


def _hold(mib: int, ready) -> None:
    block = np.ones(mib * MIB, np.uint8)
    ready.set()
    time.sleep(60)
    del block


def test_workers_are_told_apart():
    context = get_context("fork")
    before, ready = workers(), context.Event()
    process = context.Process(target=_hold, args=(100, ready), daemon=True)
    process.start()
    ready.wait()
    try:
        assert workers() - before > 100
    finally:
        process.kill()
        process.join()
    assert workers() == before


def test_growth_is_the_slope_after_caches_are_full():
    ramp = np.minimum(np.arange(200), 80) * 7.0
    assert growth(ramp) == pytest.approx(0, abs=1e-9)
    assert growth(ramp + np.arange(200) * 0.03) == pytest.approx(30)
    assert growth([5]) == 0


@HOOKS.register_module()
class CountHook(Hook):
    """Counts tensors after some iterations, into ``counts`` of the class."""

    def after_train_iter(self, runner, *_, **__) -> None:
        if runner.iter in (8, 40):
            type(self).counts.append(live_tensors())


def test_training_tells_memory_and_keeps_no_tensors(shapes, tmp_path):
    CountHook.counts = []
    options = ("default_hooks.memory.type=MemoryHook", "default_hooks.count.type=CountHook")
    options += (f"data_root={shapes}", "train_dataloader.batch_size=1", "train_cfg.max_epochs=3")
    options += ("train_dataloader.num_workers=1", "train_dataloader.persistent_workers=True")
    run_train(arguments(SHAPES, tmp_path, *options))
    assert CountHook.counts[0] == CountHook.counts[1]
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    told = [entry for entry in map(json.loads, lines) if "loss" in entry]
    assert len(told) == 48
    assert all(100 < entry["resident_mib"] < 50_000 for entry in told)
    assert told[-1]["workers_mib"] > 50
    log = logged(tmp_path)
    for name in ("resident_mib", "workers_mib"):
        assert re.search(rf"{name}: \d+, grows by -?\d+\.\d\d MiB in 1,000 iterations", log)

    checkpoint = str(tmp_path / "epoch_3.pth")
    options = (f"data_root={shapes}", "default_hooks.memory.type=MemoryHook")
    run_test(arguments(SHAPES, tmp_path / "test", *options, checkpoint=checkpoint))
    assert int(re.search(r"peak memory: (\d+) MiB", logged(tmp_path / "test"))[1]) > 100


def logged(work_dir: Path) -> str:
    """Text of the log of a run."""
    return next(work_dir.glob("*/*.log")).read_text()
