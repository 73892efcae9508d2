"""Automatic mixed precision that fits the machine."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward in bfloat16 autocast, on CPUs too.

    bfloat16 has float32's range, so unlike mmengine's ``AmpOptimWrapper`` there is no loss scaler
    and nothing to save or skip a step for.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of one forward and backward pass of ``model``."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


def use_amp(cfg: Config) -> None:
    """Switch ``cfg`` to mixed precision: bfloat16, or scaled float16 on GPUs without it."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
