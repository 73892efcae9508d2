"""Reading configs, and what their optimizers and schedules come to."""

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from torch import nn

from tests.conftest import ROOT

CHANNELS = {"t": [64, 128, 256, 384], "s": [96, 192, 320, 448], "b": [128, 256, 384, 512]}
WEIGHTS = "https://huggingface.co/jameslahm/lsnet/resolve/main/lsnet_{}.pth"


def read(name: str) -> Config:
    """Config ``configs/NAME.py``, with its library's scope made the default one."""
    cfg = Config.fromfile(ROOT / f"configs/{name}.py")
    init_default_scope(cfg.default_scope)
    return cfg


def parameter_groups(cfg: Config, model: nn.Module) -> dict[str, dict]:
    """The optimizer's settings for every parameter of a model, by the parameter's name."""
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: group for group in wrapper.optimizer.param_groups for p in group["params"]
    }


def learning_rates(cfg: Config, steps: int) -> list[float]:
    """Rates of ``steps`` iterations or epochs, of schedulers that all count the same."""
    base = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates
