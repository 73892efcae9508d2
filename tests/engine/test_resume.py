"""Runs killed at any moment and resumed end as uninterrupted ones, to the last bit."""

import random
from pathlib import Path

import pytest

from lsnet_mm.engine.checkpoints import POINTER
from lsnet_mm.engine.resume import check_checkpoint

from .killed import AtFileEvent, InWrite, Run, differences, outcome

CONFIGS = {"killed_epochs.py": 30, "killed_iterations.py": 20}


@pytest.fixture(scope="module")
def whole(shapes_by_class, tmp_path_factory) -> dict[str, dict]:
    """What uninterrupted runs of each config end with, and their seconds."""
    outcomes = {}
    for config in CONFIGS:
        run = Run(config, shapes_by_class, tmp_path_factory.mktemp("whole") / "run")
        assert run.finish() == 0, run.output()[-3000:]
        outcomes[config] = outcome(run.work_dir)
    return outcomes


@pytest.mark.parametrize(("config", "kills"), CONFIGS.items())
def test_killed_at_random_moments(config, kills, whole, shapes_by_class, tmp_path):
    chance = random.Random(0)
    moments, killed, folder = [], 0, 0
    while killed < kills:
        work_dir = tmp_path / str(folder)
        how = chance.choice(["time", "time", "file event", "write"])
        count, share = chance.randint(1, 25), chance.random()
        doom = {"file event": AtFileEvent(count), "write": InWrite(count, share)}.get(how)
        run = Run(config, shapes_by_class, work_dir, doom)
        run.start()
        if how == "time":
            run.join(2.5 * share)
            run.kill()
        status = run.finish()
        moments.append(f"{folder}: {how}, {share:.3f}, number {count}: {status}")
        assert status in (0, -9), "\n".join([*moments, run.output()[-3000:]])
        if status == 0:
            assert not differences(outcome(work_dir), whole[config]), "\n".join(moments)
            folder += 1
            continue
        killed += 1
        pointer = work_dir / POINTER
        if pointer.exists() and pointer.read_text():
            check_checkpoint(pointer.read_text())
    print("\n".join(moments))
