"""Pretrained backbones: find the backbone in a checkpoint file and account for every tensor."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from lsnet_mm.errors import CheckpointError
from lsnet_mm.loading import guarded_loading

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
            another shape. ``model`` is unchanged then.
        FileNotFoundError: If there is no such file.
    """
    state = backbone_state(read_checkpoint(filename), model.num_stages)
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
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{filename} cannot be read as a torch checkpoint: {error}"
        ) from error


def classifier_state(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The authors' classification files by the names of an mmpretrain classifier.

    Args:
        checkpoint: What a file held. Anything but the authors' layout is returned as it is.
    """
    weights = checkpoint.get("model", checkpoint)
    if not isinstance(weights, Mapping) or STEM not in weights:
        return checkpoint
    return {_classifier_name(k): v for k, v in weights.items()}


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
    if not isinstance(state, Mapping):
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
    shapes = [
        f"{k} is {tuple(v.shape)}, not {tuple(expected[k].shape)}"
        for k, v in state.items()
        if k in expected and not _fits(k, v, expected[k])
    ]
    found = {
        "missing": [k for k in expected if k not in state],
        "not part of it": [k for k in state if k not in expected],
        "of another shape": shapes,
    }
    return [f"{len(v)} tensors {k} (first: {v[0]})" for k, v in found.items() if v]


def _fits(name: str, tensor: Tensor, expected: Tensor) -> bool:
    if name.endswith(TABLE):  # resized on loading if it describes another square grid
        square = tensor.dim() == 2 and round(tensor.shape[1] ** 0.5) ** 2 == tensor.shape[1]
        return square and tensor.shape[0] == expected.shape[0]
    return tensor.shape == expected.shape


def _hint(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    if STEM not in state:
        return ". It holds no LSNet at all: is it the right file?"
    if state[STEM].shape != expected[STEM].shape:
        widths = {64: "t", 96: "s", 128: "b"}
        width = state[STEM].shape[0]
        return f". It looks like arch={widths.get(width, f'a dict of stem width {width}')!r}"
    return ""
