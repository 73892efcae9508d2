"""A hook that kills its process, for tests of runs by several processes."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DieHook(Hook):
    """Die by SIGKILL on one rank, once before each of some iterations."""

    def __init__(self, rank: int, iterations: Sequence[int]) -> None:
        self.rank, self.iterations = rank, iterations

    def before_train_iter(self, runner, *_, **__) -> None:
        mark = Path(runner.work_dir, f"died_{runner.iter}")
        if get_rank() == self.rank and runner.iter in self.iterations and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
