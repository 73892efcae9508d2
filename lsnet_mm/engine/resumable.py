"""The runner for training, made to survive being killed at any instant."""

from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from .checkpoints import WholeCheckpointHook
from .loops import EpochLoop, IterLoop
from .runner import ExplainingRunner
from .signals import ShieldedWorker, StopHook

RESUMABLE = {EpochBasedTrainLoop: EpochLoop, IterBasedTrainLoop: IterLoop}


class ResumableRunner(ExplainingRunner):
    """A runner whose training, killed and resumed, ends with the weights it would have had.

    Takes any config: mmengine's own training loops and checkpoint hook are replaced by ones that
    do the same and lose nothing. Loops and hooks of other kinds stay as they are.
    """

    def build_dataloader(
        self, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """Build a loader whose workers leave signals to this process."""
        loader = super().build_dataloader(dataloader, *args, **kwargs)
        loader.worker_init_fn = ShieldedWorker(loader.worker_init_fn)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop of ``train_cfg``."""
        from_config = isinstance(loop, dict) and isinstance(self._train_dataloader, dict)
        if from_config and ("type" in loop) != ("by_epoch" in loop):
            loop = dict(loop)
            if "by_epoch" in loop:
                loop["type"] = EpochBasedTrainLoop if loop.pop("by_epoch") else IterBasedTrainLoop
            loop["type"] = _replaced(loop["type"], LOOPS, RESUMABLE)
        return super().build_train_loop(loop)

    def register_hook(self, hook: Hook | dict, priority: int | str | None = None) -> None:
        """Register a hook, by its priority."""
        if isinstance(hook, dict):
            kind = _replaced(hook["type"], HOOKS, {CheckpointHook: WholeCheckpointHook})
            hook = {**hook, "type": kind}
        super().register_hook(hook, priority)

    def train(self) -> nn.Module:
        """Train, and return the model."""
        stop = StopHook()
        self.register_hook(stop)
        # What other hooks do at the end of an iteration or a validation is to be saved, too.
        self._hooks.sort(key=lambda hook: isinstance(hook, WholeCheckpointHook | StopHook))
        try:
            return super().train()
        finally:
            stop.release()


def _replaced(kind: str | type, registry: Any, replacements: dict[type, type]) -> str | type:
    found = registry.get(kind) if isinstance(kind, str) else kind
    return replacements.get(found, kind)
