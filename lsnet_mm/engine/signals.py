"""Ending a run on SIGTERM or Ctrl-C without losing what it has computed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process
from types import FrameType
from typing import Any

import torch
from mmengine.dist import barrier, get_comm_device, is_distributed, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from .checkpoints import WholeCheckpointHook

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE = 3  # seconds in which a signal that comes again, say by way of torchrun, is the same


class StopHook(Hook):
    """End training after the running iteration when SIGTERM or SIGINT comes, with a checkpoint.

    The exit status is 128 + the signal's number: 143 for SIGTERM, as schedulers expect of a
    process that a signal has ended, 130 for Ctrl-C. The same signal some seconds later ends the
    run at once. All ranks stop after the same iteration, whichever got the signal.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self._signal = 0
        self._since = 0.0
        self._former: dict[int, Any] = {}
        self._asked: tuple[torch.Tensor, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        """Begin to catch the signals; Python lets only the main thread do so."""
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Stop if a signal has come; hooks that count or save this iteration have run."""
        if number := self._agreed():
            self._stop(runner, number, done=runner.iter + 1, together=True)

    def before_val(self, runner: Runner) -> None:
        """Stop before validation, within which ranks do not wait for each other."""
        if number := self._agreed(at_once=True):
            self._stop(runner, number, done=runner.iter, together=True)

    def after_val_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Stop in the middle of validation, which the resumed run begins anew."""
        if not self._signal:
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # validation has the averages in the model's place
                hook._swap_ema_parameters()
        self._stop(runner, self._signal, done=runner.iter, together=not is_distributed())

    def release(self) -> None:
        """Leave the signals to whom they belonged."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._signal and now - self._since > PATIENCE:
            self.release()
            signal.raise_signal(number)
        elif not self._signal:
            self._signal, self._since = number, now

    def _agreed(self, at_once: bool = False) -> int:
        """The signal that any rank has got, known to all of them at the same iteration.

        Ranks exchange it while the next iteration runs, so that nobody waits, or ``at_once``.
        """
        if not is_distributed():
            return self._signal
        heard = self._hear()
        if not heard:
            question = torch.tensor(self._signal, device=get_comm_device())
            work = torch.distributed.all_reduce(
                question, torch.distributed.ReduceOp.MAX, async_op=True
            )
            self._asked = question, work
        return heard or (self._hear() if at_once else 0)

    def _hear(self) -> int:
        if self._asked is None:
            return 0
        (answer, work), self._asked = self._asked, None
        work.wait()
        return int(answer.item())

    def _stop(self, runner: Runner, number: int, done: int, together: bool) -> None:
        name = signal.Signals(number).name
        saved = [
            hook.save_interrupted(runner, done, together)
            for hook in runner.hooks
            if isinstance(hook, WholeCheckpointHook)
        ]
        if is_main_process():
            runner.logger.warning(
                f"Stopped by {name} after {done} iterations. "
                + (f"Saved: {saved[0]}. Go on with --resume." if saved else "Nothing is saved.")
            )
        if together:  # a launcher may end all as soon as one has ended
            barrier()
        raise SystemExit(128 + number)


class ShieldedWorker:
    """Start of a data worker: signals to the whole job are for the training process to answer.

    Schedulers and terminals send them to every process, and a worker that died of one would take
    the run with it before it has saved. From the training process itself, SIGTERM is obeyed.

    Args:
        initialize: What else is to be called in the worker, with its number.
    """

    def __init__(self, initialize: Callable[[int], None] | None) -> None:
        self.initialize = initialize

    def __call__(self, worker: int) -> None:
        """Prepare this process, which is the loader's ``worker``-th."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()
        if self.initialize is not None:
            self.initialize(worker)


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent_process().pid:
        pass
    os._exit(0)
