"""Memory of long runs: what a process has in RAM, and whether it grows (on Linux)."""

from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

SCALARS = ("resident_mib", "workers_mib")


def resident() -> float:
    """MiB of this process in RAM."""
    return _status("self", "VmRSS")


def workers() -> float:
    """MiB of its data workers in RAM, with what they share counted for each."""
    return sum(_status(process.pid, "VmRSS") for process in active_children())


def peak() -> float:
    """MiB that this process had in RAM at most."""
    return _status("self", "VmHWM")


def growth(history: Sequence[float]) -> float:
    """Slope of the line through the second half of some values, by least squares, per 1,000.

    The first half is for caches to fill.
    """
    half = np.asarray(history[len(history) // 2 :])
    return float(np.polyfit(np.arange(len(half)), half, 1)[0]) * 1000 if len(half) > 1 else 0.0


def _status(pid: int | str, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # a worker that has ended meanwhile
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


@HOOKS.register_module()
class MemoryHook(Hook):
    """Log the main memory that training and testing take.

    ``--cfg-options default_hooks.memory.type=MemoryHook`` adds it to any config. In training
    :func:`resident` and :func:`workers` are logged beside the losses, and their :func:`growth` at
    the end; in testing the :func:`peak`, with what the evaluation takes.
    """

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Note the memory in use."""
        for name, value in zip(SCALARS, (resident(), workers()), strict=True):
            runner.message_hub.update_scalar(f"train/{name}", value)

    def after_train(self, runner: Runner) -> None:
        """Log how it grew."""
        for name in SCALARS:
            history, _ = runner.message_hub.get_scalar(f"train/{name}").data
            grows = f"grows by {growth(history):.2f} MiB in 1,000 iterations"
            runner.logger.info(f"{name}: {history[-1]:.0f}, {grows}")
        runner.logger.info(f"peak memory: {peak():.0f} MiB")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the peak, once metrics are computed."""
        runner.logger.info(f"peak memory: {peak():.0f} MiB")
