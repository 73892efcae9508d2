"""A hook that keeps each rank's final weights, for the tests to compare."""

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RecordWeightsHook(Hook):
    """Write ``rank_N.pth`` into the work folder after training."""

    def after_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        torch.save(model.state_dict(), f"{runner.work_dir}/rank_{get_rank()}.pth")
