"""What happens when a loss is infinite or not a number."""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lsnet_mm.errors import InputError


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop at a loss that is not finite, before anything is saved, or leave its iteration out.

    Its losses and images go to ``nonfinite_iter_N.json`` in the work folder. All processes of a
    distributed run decide alike: their flags are reduced, which is a message of 4 bytes.

    Without ``skip`` the flag is read once the iteration is over, right where mmengine reads the
    losses for its log: this waits for no GPU that would not be waited for anyway. With ``skip`` it
    must be read before the backward pass, so that the GPU idles until that is launched.

    Args:
        skip: How many iterations may be left out, without a step of the optimizer, and with
            BatchNorm's statistics as they were before. Where gradients are accumulated, those
            gathered since the last step are dropped too.
    """

    priority = "HIGHEST"  # before losses are logged

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        self.skipped = 0
        self._flag: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Look at every loss that is about to be used."""
        wrapper = runner.optim_wrapper
        update = wrapper.update_params
        norms = [module for module in runner.model.modules() if isinstance(module, _BatchNorm)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._statistics]

        def checked_update(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self._flag = (~torch.isfinite(loss.detach())).int()
            all_reduce(self._flag, "max")
            if self.skip and self._flag.item():
                torch._foreach_copy_(self._statistics, self._kept)
                wrapper.zero_grad()
                wrapper._inner_count += 1  # as a backward pass does: accumulation counts on it
            else:
                update(loss, *args, **kwargs)

        wrapper.update_params = checked_update

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep BatchNorm's statistics, which a forward pass of NaN would spoil for good."""
        if self.skip:
            torch._foreach_copy_(self._kept, self._statistics)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Tell of losses that were not finite.

        Raises:
            InputError: If there may be no more of them.
        """
        if self._flag is None or not self._flag.item():
            return
        values = {name: float(value) for name, value in outputs.items()}
        losses = {name: str(value) for name, value in values.items() if not isfinite(value)}
        for name in losses:  # averages over many iterations are logged
            del outputs[name]
        found = all_gather_object(dict(losses=losses, images=list(image_names(data_batch))))
        file = Path(runner.work_dir) / f"nonfinite_iter_{runner.iter + 1}.json"
        if is_main_process():
            record = dict(iteration=runner.iter + 1, epoch=runner.epoch + 1, processes=found)
            file.write_text(json.dumps(record, indent=1))
        named = {name: value for item in found for name, value in item["losses"].items()}
        what = (
            f"the loss of iteration {runner.iter + 1} is not finite ("
            + ", ".join(f"{name} {value}" for name, value in named.items())
            + f"); its images are in {file}"
        )
        if self.skipped == self.skip:
            raise InputError(
                what
                + (f", and {self.skip} were skipped before" if self.skip else "")
                + ". Look at them and their annotations (tools/check_dataset.py), clip gradients "
                "(--cfg-options optim_wrapper.clip_grad.max_norm=1) or lower the learning rate "
                "(optim_wrapper.optimizer.lr); --skip-nonfinite N leaves out up to N such "
                "iterations. Checkpoints in the work folder are from before"
            )
        self.skipped += 1
        runner.logger.warning(f"Skipped: {what}")

    def after_train(self, runner: Runner) -> None:
        """Tell how many iterations were left out."""
        if self.skipped:
            runner.logger.warning(
                f"{self.skipped} iterations were skipped as their loss was not finite: "
                f"see {runner.work_dir}/nonfinite_iter_*.json"
            )


def image_names(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield path and id, as far as known, of the images of a batch of any of the libraries."""
    if isinstance(batch, BaseDataElement):
        yield {key: batch.get(key) for key in ("img_path", "img_id") if key in batch}
    elif isinstance(batch, dict | list | tuple):
        for item in batch.values() if isinstance(batch, dict) else batch:
            yield from image_names(item)
