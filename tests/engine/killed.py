"""Training runs in processes that start at once, as they are forked, and die when told to."""

import gc
import json
import multiprocessing
import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import ValLoop
from mmengine.runner import runner as mmengine_runner
from yapf.yapflib import yapf_api

from lsnet_mm import engine
from lsnet_mm.engine import checkpoints, loops
from lsnet_mm.errors import InputError
from tests.conftest import ROOT

processes = multiprocessing.get_context("forkserver")
LIBRARY = [f"mmpretrain.{part}" for part in ("datasets", "evaluation", "models")]
processes.set_forkserver_preload([__name__, *LIBRARY])  # imported once for all

LIMIT = 60  # seconds


class Run(processes.Process):
    """A run of ``tools/train.py`` in a process.

    Args:
        config: Name of a file in tests/configs.
        data: Folder of the images.
        work_dir: Where it writes; its output goes to ``work_dir.log``.
        doom: Called with ``work_dir`` in the process, before training.
        environment: Variables to set in it.
        arguments: Others than the tool's defaults.
    """

    def __init__(
        self,
        config: str,
        data: Path,
        work_dir: Path,
        doom: Callable[[Path], None] | None = None,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.work_dir, self.doom, self.environment = work_dir, doom, environment or {}
        self.log = work_dir.with_suffix(".log")
        defaults = dict(launcher="none", resume="auto", amp=False, auto_scale_lr=False)
        defaults |= dict(trust_checkpoint=False, skip_nonfinite=0)
        self.arguments = Namespace(
            config=str(ROOT / "tests/configs" / config),
            work_dir=str(work_dir),
            cfg_options=[f"data_root={data}", *options],
            **{**defaults, "compile": None, "deterministic": False, **arguments},
        )

    def run(self) -> None:
        """Train; the output goes to a file."""
        os.setpgid(0, 0)
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        torch.set_num_threads(1)
        np.random.seed()  # noqa: NPY002  else a fork draws the same as its siblings
        os.environ.update(self.environment)
        # These take most of a tiny run's time: asking for compilers, formatting the config's
        # text for each checkpoint, collecting the garbage of all that was imported.
        mmengine_runner.collect_env = dict
        yapf_api.FormatCode = lambda text, **_: (text, True)
        gc.freeze()
        if self.doom is not None:
            self.doom(self.work_dir)
        try:
            engine.train(self.arguments)
        except InputError as error:  # as tools/options.py does
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)

    def finish(self, seconds: float = LIMIT) -> int:
        """Start if need be, wait, and return the exit status."""
        if self.pid is None:
            self.start()
        self.join(seconds)
        if self.exitcode is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.output()[-3000:]}")
        return self.exitcode

    def output(self) -> str:
        """What was printed so far, by the runs before in this folder, too."""
        return self.log.read_text()


def run_ranks(config: str, data: Path, work_dirs: Sequence[Path], *args: Any) -> list[int]:
    """Train in a process for each of ``work_dirs`` and return their exit statuses."""
    count = len(work_dirs)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ranks = []
    for rank, work_dir in enumerate(work_dirs):
        variables = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count, LOCAL_WORLD_SIZE=count)
        environment = {name: str(value) for name, value in variables.items()}
        environment |= dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        variables = dict(environment=environment, launcher="pytorch")
        ranks.append(Run(config, data, work_dir, *args, **variables))
        ranks[-1].start()
    return [rank.finish() for rank in ranks]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class AtFileEvent:
    """Die right before the ``count``-th time that a checkpoint's file is made, renamed, removed."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, work_dir: Path) -> None:
        def watch(event: str, args: tuple) -> None:
            if event in ("open", "os.rename", "os.remove") and isinstance(args[0], str | Path):
                name, mode = Path(args[0]), args[1] if event == "open" else "w"
                if name.parent == work_dir and name.suffix != ".py" and "w" in str(mode):
                    self.count -= 1
                    if self.count == 0:
                        die()

        sys.addaudithook(watch)


class InWrite:
    """Die in the ``count``-th write of a checkpoint's file, after a ``share`` of its bytes.

    Or raise an error there, as a full disk does.
    """

    def __init__(self, count: int, share: float, error: OSError | None = None) -> None:
        self.count, self.share, self.error = count, share, error

    def __call__(self, work_dir: Path) -> None:
        def open_mortal(path: str, mode: str) -> Any:
            file = open(path, mode)  # noqa: SIM115  the caller closes it
            self.count -= 1
            if self.count != 0:
                return file
            self.file = file
            return self

        checkpoints.open = open_mortal

    def __enter__(self) -> "InWrite":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: int(self.share * len(data))])
        self.file.flush()
        if self.error is not None:
            raise self.error
        die()


class Scaled:
    """Let mmengine's scaled mixed precision, meant for GPUs, run on CPUs; and another doom."""

    def __init__(self, doom: Callable[[Path], None] | None = None) -> None:
        self.doom = doom

    def __call__(self, work_dir: Path) -> None:
        amp_optimizer_wrapper.is_cuda_available = lambda: True
        amp_optimizer_wrapper.GradScaler = partial(torch.amp.GradScaler, device="cpu")
        if self.doom is not None:
            self.doom(work_dir)


class AtIteration:
    """Send a signal to the run's processes in training's, or validation's, ``count``-th iteration.

    ``rank`` limits it to one of several ranks, of which only that process then gets it.
    """

    def __init__(
        self, count: int, number: int, validation: bool = False, rank: int | None = None
    ) -> None:
        self.count, self.number, self.validation, self.rank = count, number, validation, rank

    def __call__(self, work_dir: Path) -> None:
        if self.rank is not None and os.environ["RANK"] != str(self.rank):
            return
        loop = ValLoop if self.validation else loops._ResumableLoop
        run_iter = loop.run_iter

        def run_iter_and_signal(*args: Any) -> None:
            self.count -= 1
            if self.count == 0:
                self.act()
            run_iter(*args)

        loop.run_iter = run_iter_and_signal

    def act(self) -> None:
        if self.rank is None:
            os.killpg(0, self.number)  # data workers too, as schedulers and terminals do
        else:
            os.kill(os.getpid(), self.number)


class WorkersDie(AtIteration):
    """Send the signal to the data workers alone."""

    def act(self) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, self.number)


def outcome(work_dir: Path) -> dict[str, Any]:
    """All that a finished run leaves that may not depend on how often it was killed."""
    path = Path((work_dir / "last_checkpoint").read_text())
    checkpoint = torch.load(path, weights_only=False)
    hub = checkpoint["message_hub"]
    losses = hub["log_scalars"]["train/loss"]._log_history
    # With paths and times; the version is followed by the commit, which may change between runs.
    unlike = ("cfg", "experiment_name", "last_ckpt", "best_ckpt", "mmengine_version")
    info = {k: v for k, v in hub["runtime_info"].items() if k not in unlike}
    parts = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "progress")
    return dict(
        {part: flat(checkpoint[part]) for part in parts},
        files=sorted(p.name for end in (".pth", ".tmp") for p in work_dir.glob(f"*{end}")),
        losses=losses.tolist(),
        info=json.loads(json.dumps(info, default=str)),
        seed=checkpoint["meta"]["seed"],
    )


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists, by path; tensors as their bytes."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {name: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}
    return {k: v for key, item in items for k, v in flat(item, f"{name}/{key}").items()}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of what is not equal to the last bit in two outcomes."""
    found, wanted = flat(found), flat(wanted)
    return sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
