"""Pretrained backbones: find the backbone in a checkpoint file and account for every tensor."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any
from urllib.error import URLError

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from lsnet_mm.errors import CheckpointError
from lsnet_mm.loading import guarded_loading

from .attention import resize_table

INDICES = "attention_bias_idxs"
TABLE = "attention_biases"
STEM = "patch_embed.4.c.weight"  # its width tells the variants apart


def load_pretrained(model: nn.Module, filename: str) -> None:
    """Load a backbone from a file or URL, completely or not at all.

    Takes the authors' classification files (weights under ``model``), mm checkpoints (weights
    under ``state_dict``, the backbone's with a ``backbone.`` prefix) and bare state dicts, with or
    without DDP's ``module.``. Classifier heads, everything beside the backbone, index buffers and
    stages that ``model`` does not build are dropped; bias tables are resized by the model.

    Args:
        model: An :class:`~lsnet_mm.models.LSNet`.
        filename: Path or URL.

    Raises:
        CheckpointError: If the file is not a checkpoint or any tensor is missing, left over or of
            another shape or kind. ``model`` is unchanged then.
        FileNotFoundError: If there is no such file.
    """
    content = read_checkpoint(filename)
    try:
        state = backbone_state(content, model.num_stages)
    except CheckpointError as error:
        raise CheckpointError(f"{filename}: {error}") from None
    expected = {k: v for k, v in model.state_dict().items() if INDICES not in k}
    problems = _differences(state, expected)
    if problems:
        raise CheckpointError(
            f"{filename} does not hold the weights of this LSNet ({model.arch}): "
            + "; ".join(problems)
            + _hint(state, expected)
        )
    model.load_state_dict(state)
    print_log(f"Loaded all {len(state)} tensors of the backbone from {filename}", "current")


def read_checkpoint(filename: str) -> Any:
    """Read a checkpoint onto the CPU from a path or URL, through mmengine's loaders, as data.

    Raises:
        CheckpointError: If the file is damaged, no checkpoint, or cannot be downloaded; or as
            :class:`~lsnet_mm.errors.UnsafeFileError`, if it is more than data.
        FileNotFoundError: If there is no such file.
    """
    try:
        with guarded_loading():
            return CheckpointLoader.load_checkpoint(filename, map_location="cpu", logger="silent")
    except FileNotFoundError:
        raise FileNotFoundError(f"Pretrained weights not found: {filename}") from None
    except (URLError, TimeoutError, ConnectionError) as error:
        raise CheckpointError(
            f"Could not download {filename} ({error}). Download it elsewhere and give its path: "
            "--cfg-options model.backbone.init_cfg.checkpoint=PATH, or "
            "model.backbone.init_cfg=None to start from random weights"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # torch's readers raise anything on damaged data
        raise CheckpointError(
            f"{filename} cannot be read as a torch checkpoint: {error or type(error).__name__}"
        ) from error


def classifier_state(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The authors' classification files by the names of an mmpretrain classifier.

    Args:
        checkpoint: What a file held. Anything but the authors' layout is returned as it is.
    """
    weights = checkpoint.get("model", checkpoint)
    if not isinstance(weights, Mapping) or STEM not in weights or not has_names(weights):
        return checkpoint
    return {_classifier_name(k): v for k, v in weights.items()}


def has_names(state: Any) -> bool:
    """Tell whether what a file held is something by names, as state dicts are."""
    return isinstance(state, Mapping) and all(isinstance(k, str) for k in state)


def _classifier_name(name: str) -> str:
    if not name.startswith(("head.", "head_dist.")):
        return f"backbone.{name}"
    return f"head.{name}".replace(".l.", ".linear.")


def backbone_state(checkpoint: Any, num_stages: int) -> dict[str, Tensor]:
    """Tensors of the backbone in a checkpoint, by their published names.

    Args:
        checkpoint: What the file held.
        num_stages: Stages wanted, 1 to 4; later ones are left out.

    Raises:
        CheckpointError: If it holds no state dict.
    """
    state = checkpoint
    for key in ("state_dict", "model"):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            state = checkpoint[key]
            break
    if not has_names(state):
        raise CheckpointError(f"no state dict in the checkpoint, but {type(state).__name__}")
    state = {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    prefix = "backbone."
    if any(k.startswith(prefix) for k in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    later = "".join(rf"|blocks{i + 1}\." for i in range(num_stages, 4))
    unwanted = re.compile(rf"head\.|head_dist\.|.*{INDICES}{later}")
    return {k: v for k, v in state.items() if not unwanted.match(k)}


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps ``state`` from being loaded, a phrase each."""
    shared = [k for k in expected if k in state]
    misfits = [f"{k} is {what}" for k in shared if (what := _misfit(k, state[k], expected[k]))]
    found = {
        "missing": [k for k in expected if k not in state],
        "not part of it": [k for k in state if k not in expected],
        "of another shape or kind": misfits,
    }
    return [f"{len(v)} tensors {k} (first: {v[0]})" for k, v in found.items() if v]


def misfit(tensor: Any, expected: Tensor) -> str:
    """What a file has that cannot be copied to a network's tensor, as a phrase; empty if it can."""
    if not isinstance(tensor, Tensor):
        return f"a {type(tensor).__name__}, not a tensor"
    if tensor.is_nested or tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
        return "sparse, nested, quantised or without values"
    if expected.is_floating_point() and not tensor.is_floating_point():
        return f"of {tensor.dtype}, not of {expected.dtype}"
    if tensor.shape != expected.shape:
        return f"{tuple(tensor.shape)}, not {tuple(expected.shape)}"
    return ""


def _misfit(name: str, tensor: Tensor, expected: Tensor) -> str:
    what = misfit(tensor, expected)
    if what and name.endswith(TABLE):  # resized on loading if it describes another square grid
        resized = resize_table(tensor, isqrt(expected.shape[1]))
        return what if misfit(resized, expected) else ""
    return what


def _hint(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    if STEM not in state or state[STEM].is_nested:
        return ". It holds no LSNet at all: is it the right file?"
    if state[STEM].shape != expected[STEM].shape:
        widths = {64: "t", 96: "s", 128: "b"}
        width = state[STEM].shape[0]
        return f". It looks like arch={widths.get(width, f'a dict of stem width {width}')!r}"
    return ""
