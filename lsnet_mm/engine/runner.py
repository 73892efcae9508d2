"""mmengine's runner, made to tell in words what is wrong and to survive being killed."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, LOOPS, RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from lsnet_mm.errors import InputError

from .checkpoints import WholeCheckpointHook
from .data import explain_empty_data
from .loops import EpochLoop, IterLoop
from .samples import BAD_IMAGES, check_setting, guard, summary
from .signals import ShieldedWorker, StopHook

RESUMABLE = {EpochBasedTrainLoop: EpochLoop, IterBasedTrainLoop: IterLoop}


@RUNNERS.register_module()
class ExplainingRunner(Runner):
    """A runner whose data sets name the image that cannot be used.

    ``on_bad_image='skip'`` in the config has another image take its place in training, see
    :class:`~lsnet_mm.engine.samples.GuardedPipeline`. Evaluation always stops: its result would be
    of other data.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        setting = self.cfg.get("on_bad_image", "stop")
        check_setting(setting)
        self._bad_images = Path(self.work_dir) / BAD_IMAGES if setting == "skip" else None
        self._trains = False  # the loader that is being built

    def build_dataloader(
        self, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """Build a loader; see mmengine.

        Raises:
            InputError: If its data set has no images.
        """
        with explain_empty_data(dataloader):
            loader = super().build_dataloader(dataloader, *args, **kwargs)
        guard(loader.dataset, self._bad_images if self._trains else None)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of training; see mmengine.

        Raises:
            InputError: If its loader gives no batch.
        """
        self._trains = True
        loop = super().build_train_loop(loop)
        self._trains = False
        if not loop.max_iters:
            loader = loop.dataloader
            raise InputError(
                f"train_dataloader gives no batch: its {len(loader.dataset)} images do not fill "
                f"one of {loader.batch_size}, and drop_last leaves out the rest: set "
                "train_dataloader.batch_size lower, or train_dataloader.drop_last=False"
            )
        return loop

    def train(self) -> nn.Module:
        """Train; see mmengine. Ends with a list of the bad images that were replaced."""
        if self._bad_images and not self._resume and is_main_process():
            self._bad_images.unlink(missing_ok=True)
        model = super().train()
        if self._bad_images:
            self.logger.warning("\n".join(summary(self._bad_images)))
        return model


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
