"""Hooks that mmengine lacks."""

import os
import shutil
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from lsnet_mm.errors import CheckpointError, InputError
from lsnet_mm.models.pretrained import classifier_state, has_names, misfit

from .data import class_counts, class_misfits

DERIVED = "attention_bias_idxs"  # computed by the model, whatever a file says

# What torch.compile takes whole. The rest (targets, proposals, losses) works on lists of lengths
# that differ from image to image.
COMPILED_PARTS = (
    "backbone",
    "neck",
    "rpn_head",
    "bbox_head",
    "decode_head",
    "auxiliary_head",
    "head",
)


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuse a checkpoint that is not of the model, where mmengine only logs what is missing.

    Args:
        strict: Refuse any tensor missing, left over or of another shape. Otherwise only a file
            with nothing for the model: fine-tuning replaces heads on purpose.
        filename: The file, for errors; None if it is not known before it is found.
    """

    def __init__(self, strict: bool = True, filename: str | None = None) -> None:
        self.strict = strict
        self.name = filename or "the checkpoint"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the file's tensors with the model's.

        Raises:
            CheckpointError: If they do not fit.
        """
        model = _unwrap(runner.model)
        if not isinstance(checkpoint, dict):
            raise CheckpointError(f"{self.name} holds no weights but {type(checkpoint).__name__}")
        weights = checkpoint.get("state_dict", checkpoint)
        if not has_names(weights):
            raise CheckpointError(f"{self.name} holds no weights by name: {str(weights)[:80]}")
        weights = classifier_state(weights)
        if weights is not checkpoint:  # the runner is to load an authors' classifier as renamed
            checkpoint["state_dict"] = weights
        given = {k.removeprefix("module."): v for k, v in weights.items()}
        wanted = model.state_dict()
        shared = [k for k in wanted if k in given]
        misfits = {k: what for k in shared if (what := misfit(given[k], wanted[k]))}
        problems = {
            "missing": [k for k in wanted if k not in given],
            "not part of the model": [k for k in given if k not in wanted],
            "of another shape or kind": [
                f"{k} is {what}" for k, what in misfits.items() if DERIVED not in k
            ],
        }
        if len(misfits) == len(shared) or (self.strict and any(problems.values())):
            found = [f"{len(v)} tensors {k} (first: {v[0]})" for k, v in problems.items() if v]
            raise CheckpointError(
                f"{self.name} is not one of this {type(model).__name__}: "
                + "; ".join(found)
                + _hint(problems["not part of the model"])
            )


def _hint(surplus: Sequence[str]) -> str:
    if surplus and all(name.startswith("head.head_dist.") for name in surplus):
        return (
            ". It is a distilled classifier: take the config of that name, or "
            "--cfg-options model.head.distillation.kind=hard"
        )
    return ""


@HOOKS.register_module()
class AdaptiveClipHook(Hook):
    """Adaptive gradient clipping (arXiv 2102.06171): by timm, right before every optimizer step.

    Each filter's gradient is scaled down to ``factor`` times the norm of its weights. Comes after
    a gradient scaler has undone its scaling, whatever the optimizer wrapper.

    Args:
        factor: Largest ratio of the two norms, positive.
    """

    def __init__(self, factor: float) -> None:
        if factor <= 0:
            raise ValueError(f"AdaptiveClipHook: factor must be positive, got {factor}")
        self.factor = factor

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer."""
        from timm.utils import adaptive_clip_grad

        optimizer = runner.optim_wrapper.optimizer
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._handle = optimizer.register_step_pre_hook(
            lambda *_: adaptive_clip_grad(parameters, self.factor)
        )

    def after_train(self, runner: Runner) -> None:
        """Detach from the optimizer."""
        self._handle.remove()


@HOOKS.register_module()
class FoldHook(Hook):
    """Fold the model for inference once its checkpoint is loaded: faster, the same outputs."""

    def before_test(self, runner: Runner) -> None:
        """Fold; see :func:`lsnet_mm.deploy.fold`."""
        from lsnet_mm.deploy import fold  # here, as it brings in mmcv

        fold(_unwrap(runner.model))


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the networks within a detector, segmentor or classifier with ``torch.compile``.

    That is backbone, neck and dense heads, in place: names of weights stay. The second image size
    makes the compiled graphs take any.

    Args:
        mode: torch.compile's: ``'default'``, ``'reduce-overhead'`` (CUDA graphs, for images of one
            size) or ``'max-autotune'``.
    """

    def __init__(self, mode: str = "default") -> None:
        self.mode = mode

    def before_run(self, runner: Runner) -> None:
        """Mark for compilation, which comes with the first batch.

        Raises:
            InputError: If the model runs on a CPU and there is no C++ compiler.
        """
        model = _unwrap(runner.model)
        compiler = os.environ.get("CXX", "g++")
        if next(model.parameters()).device.type == "cpu" and not shutil.which(compiler):
            raise InputError(
                f"--compile needs a C++ compiler for CPUs and found no {compiler}: install one "
                "(Debian: apt-get install g++), name it in CXX, or leave --compile out"
            )
        for name in COMPILED_PARTS:
            if isinstance(part := getattr(model, name, None), nn.Module):
                part.compile(mode=self.mode)
        runner.logger.info("Compiling: the first batches take minutes.")


@HOOKS.register_module()
class DataFitHook(Hook):
    """Refuse data of another number of classes than a head predicts, before the first step."""

    def before_train(self, runner: Runner) -> None:
        """Check the training data; raises :class:`~lsnet_mm.errors.InputError`."""
        self._check(runner, runner.train_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Check the validation data; raises :class:`~lsnet_mm.errors.InputError`."""
        self._check(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check the test data; raises :class:`~lsnet_mm.errors.InputError`."""
        self._check(runner, runner.test_dataloader)

    def _check(self, runner: Runner, loader: DataLoader) -> None:
        dataset = loader.dataset
        name = f"{type(dataset).__name__} ({getattr(dataset, 'ann_file', '')})"
        classes = dataset.metainfo.get("classes")
        misfits = class_misfits(class_counts(_unwrap(runner.model)), name, len(classes or ()))
        if classes and misfits:
            raise InputError(misfits[0])


def _unwrap(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
