"""Hooks that mmengine lacks."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lsnet_mm.errors import CheckpointError

DERIVED = "attention_bias_idxs"  # computed by the model, whatever a file says


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuse a checkpoint that is not of the model, where mmengine only logs what is missing.

    Args:
        strict: Refuse any tensor missing, left over or of another shape. Otherwise only a file
            with nothing for the model: fine-tuning replaces heads on purpose.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the file's tensors with the model's.

        Raises:
            CheckpointError: If they do not fit.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        weights = checkpoint.get("state_dict", checkpoint)
        given = {k.removeprefix("module."): tuple(v.shape) for k, v in weights.items()}
        wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        problems = {
            "missing": [k for k in wanted if k not in given],
            "not part of the model": [k for k in given if k not in wanted],
            "of another shape": [
                f"{k} is {given[k]}, not {wanted[k]}"
                for k in wanted
                if k in given and given[k] != wanted[k] and DERIVED not in k
            ],
        }
        fits = [k for k in wanted if given.get(k) == wanted[k]]
        if not fits or (self.strict and any(problems.values())):
            found = [f"{len(v)} tensors {k} (first: {v[0]})" for k, v in problems.items() if v]
            raise CheckpointError(
                f"the checkpoint is not one of this {type(model).__name__}: " + "; ".join(found)
            )
