"""Checkpoints that are whole or not there, and hold all that a run needs to go on exactly."""

import os
import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import (
    all_gather_object,
    gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from lsnet_mm.errors import InputError

from .loops import EpochLoop

POINTER = "last_checkpoint"  # the file that names the run's latest, as mmengine calls it
INTERRUPTED = "interrupted.pth"


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that it is complete or absent, whatever happens meanwhile.

    The data go to ``path + ".tmp"``, to the disk, and only then to their name; what was there
    before stays until that moment.

    Raises:
        OSError: If the disk is full or broken; with the file's name, and the former file in place.
    """
    unfinished = f"{path}.tmp"
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _flush_folder(osp.dirname(path) or ".")
    except OSError as error:
        Path(unfinished).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, path) from error


def _flush_folder(folder: str) -> None:
    """Bring the names in a folder to the disk, not only the files' contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WholeFileBackend(LocalBackend):
    """mmengine's backend for local files, writing with :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, whose folder is made where it is missing."""
        os.makedirs(osp.dirname(filepath) or ".", exist_ok=True)
        write_whole(str(filepath), obj)


register_backend("whole_file", WholeFileBackend, force=True)


class _LateRemovals:
    """A file backend that remembers what it is to remove."""

    def __init__(self, backend: LocalBackend) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove

    def carry_out(self) -> None:
        for path in self.outdated:
            if self.backend.isdir(path):
                self.backend.rmtree(path)
            elif self.backend.isfile(path):
                self.backend.remove(path)
        self.outdated = []


class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, safe against being killed, with the same arguments.

    Checkpoints are written whole; then ``last_checkpoint`` names the new one; only then outdated
    ones are removed, where mmengine removes them first. Each also holds its place within the
    epoch, whether validation is done, the state of ``EarlyStoppingHook``, gradients that are still
    being accumulated and, of several processes, each one's buffers, all of which mmengine loses.
    """

    saved_iter: int | None = None  # iterations done when the latest checkpoint was written
    _ranks: list[dict[str, Any]] | None = None  # what each rank has that the others have not
    _resumed: dict[str, Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep what :meth:`before_train` puts back once mmengine has done its part."""
        self._resumed = checkpoint.get("progress")

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and put back what mmengine does not resume.

        Raises:
            InputError: If another process goes on from another checkpoint.
        """
        super().before_train(runner)
        starts = all_gather_object(runner.iter)
        if len(set(starts)) > 1:  # they would wait for each other for ever
            raise InputError(
                f"the processes go on from different iterations ({starts}, by rank): "
                "--work-dir must be one folder that all machines share"
            )
        if isinstance(self.file_backend, LocalBackend) and not self.file_client_args:
            self.backend_args = self.backend_args or dict(backend="whole_file")
        self.file_backend = _LateRemovals(self.file_backend)
        hub = runner.message_hub
        if "last_validation" not in hub.runtime_info:
            hub.update_info("last_validation", runner.iter)
        if runner._resume:
            self._restore(runner)
        if is_main_process():
            self._tidy(runner)

    def _restore(self, runner: Runner) -> None:
        state = self._resumed or {}  # mmengine's own checkpoints have none
        if isinstance(runner.train_loop, EpochLoop):
            _enter_epoch(runner, state.get("batches", 0), state.get("batches_per_epoch"))
        hooks = _early_stopping(runner)
        for hook, values in zip(hooks, state.get("early_stopping", ()), strict=False):
            hook.wait_count, hook.best_score = values
        ranks = state.get("ranks")
        if ranks and len(ranks) == get_world_size():
            _restore_rank(runner, ranks[get_rank()])
        elif ranks:
            runner.logger.warning(
                f"The checkpoint was written by {len(ranks)} processes, and there are "
                f"{get_world_size()} now: what each had of its own is left out."
            )

    def _tidy(self, runner: Runner) -> None:
        """Finish what a killed run left undone in the folder."""
        pointer = Path(runner.work_dir, POINTER)
        outdated = [*Path(self.out_dir).glob("*.pth.tmp"), Path(f"{pointer}.tmp")]
        if runner._resume:
            names = runner.message_hub.get_info("outdated_checkpoints", [])
            outdated += [Path(self.out_dir, name) for name in names]
        for path in outdated:
            path.unlink(missing_ok=True)
        if runner._resume and osp.isfile(runner._load_from or ""):
            write_whole(str(pointer), runner._load_from.encode())
        elif not runner._resume and pointer.exists():
            write_whole(str(pointer), b"")  # the checkpoint of a run before is not this run's

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Note that validation is done, and save the best checkpoint."""
        runner.message_hub.update_info("last_validation", runner.iter)
        super().after_val_epoch(runner, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add what mmengine leaves out."""
        loop, meta = runner.train_loop, checkpoint["meta"]
        within = meta["epoch"] == loop.epoch and isinstance(loop, EpochLoop)
        checkpoint["progress"] = dict(
            batches=meta["iter"] - loop.pass_start if within else 0,
            batches_per_epoch=len(loop.dataloader),
            early_stopping=[(h.wait_count, float(h.best_score)) for h in _early_stopping(runner)],
            ranks=self._ranks,
        )

    def save_interrupted(self, runner: Runner, done: int, together: bool) -> str:
        """Save a run that is told to stop, and return the file's path.

        Nothing is written where a checkpoint of this very moment exists.

        Args:
            runner: The run.
            done: Iterations done.
            together: Whether all ranks do this at once, so that each can give its part.
        """
        if self.saved_iter != done:
            meta = dict(epoch=runner.epoch, iter=done)
            self._save(runner, INTERRUPTED, meta, _gather_ranks(runner) if together else None)
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        name = self.filename_tmpl.format
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                self._remove_later(name(self.keep_ckpt_ids[0]))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        self._remove_later(INTERRUPTED)
        self._save(runner, name(step), meta, _gather_ranks(runner))

    def _remove_later(self, name: str) -> None:
        self.file_backend.remove(self.file_backend.join_path(self.out_dir, name))

    def _save(
        self, runner: Runner, name: str, meta: dict[str, Any], ranks: list[dict[str, Any]] | None
    ) -> None:
        """Write a checkpoint, name it in ``last_checkpoint``, then remove what it replaces."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        # Should the run be killed before they are removed, the resumed one does it.
        outdated = [osp.basename(path) for path in self.file_backend.outdated]
        runner.message_hub.update_info("outdated_checkpoints", outdated)
        self._ranks = ranks
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._ranks, self.saved_iter = None, meta["iter"]
        if is_main_process():
            write_whole(osp.join(runner.work_dir, POINTER), self.last_ckpt.encode())
            self.file_backend.carry_out()


def _enter_epoch(runner: Runner, batches: int, of: int | None) -> None:
    """Have the loop go on after ``batches`` of an epoch that had ``of`` when it was saved."""
    loop = runner.train_loop
    now = len(loop.dataloader)
    if batches and now != of:
        runner.logger.warning(
            f"The epoch has {now} batches per process now, and had {of}: it goes on after "
            f"{batches / of:.0%}, with other images left than the run that was cut."
        )
        batches = batches * now // of
    loop.pass_start = loop.iter - batches


def _gather_ranks(runner: Runner) -> list[dict[str, Any]] | None:
    """What every rank has of its own, on rank 0; all ranks must ask for it.

    That is gradients in the middle of accumulating them, and buffers such as the statistics of
    BatchNorm, by which each rank validates its share of the images.
    """
    wrapper = runner.optim_wrapper
    accumulating = isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
    if get_world_size() == 1 and not accumulating:
        return None
    model, *averaged = _modules(runner)
    parameters = model.named_parameters() if accumulating else ()
    return gather_object(
        dict(
            gradients={n: p.grad.cpu() for n, p in parameters if p.grad is not None},
            buffers=[{n: b.cpu() for n, b in m.named_buffers()} for m in (model, *averaged)],
        )
    )


def _restore_rank(runner: Runner, state: dict[str, Any]) -> None:
    modules = _modules(runner)
    parameters = dict(modules[0].named_parameters())
    for name, gradient in state["gradients"].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    for module, buffers in zip(modules, state["buffers"], strict=True):
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])


def _modules(runner: Runner) -> list[nn.Module]:
    """The model, and its averages."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return [model, *(hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook))]


def _early_stopping(runner: Runner) -> Sequence[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
