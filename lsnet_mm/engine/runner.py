"""mmengine's runner, which tells in words what is wrong with data."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from lsnet_mm.errors import InputError

from .data import explain_empty_data
from .samples import BAD_IMAGES, check_setting, guard, summary


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
                f"one of {loader.batch_sampler.batch_size}, and drop_last leaves out the rest: set "
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
