"""Numbers computed with the authors' code on weights and inputs that a formula gives.

A tensor's values depend on its name and shape alone, so the files hold outputs only.
"""

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "golden"
RESIDUAL_SCALES = ("pw2.bn.weight", "proj.1.bn.weight", "mixer.bn.weight")


@cache
def load(name: str) -> dict[str, np.ndarray]:
    """Arrays of ``golden/NAME.npz``."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


@cache
def state_dict_shapes() -> dict[str, dict[str, list[int]]]:
    """Published keys and shapes of each network."""
    return json.loads((FOLDER / "state_dict_keys.json").read_text())


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Value of the floating-point tensor ``key``."""
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("running_var"):
        z = np.exp(0.3 * z)
    elif key.endswith(("running_mean", "bias")):
        z = 0.1 * z
    elif "attention_biases" in key:
        z = 0.5 * z
    elif key.endswith(RESIDUAL_SCALES):
        z = 0.2 + 0.05 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return torch.as_tensor(z)


@torch.no_grad()
def fill(model: nn.Module) -> nn.Module:
    """Give every floating-point tensor of ``model`` its value, and return it."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(weight(key, tuple(tensor.shape)))
    return model


def images(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 input."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def assert_matches(output: Tensor, golden: dict[str, np.ndarray], prefix: str) -> None:
    """Compare an output with its recorded shape, sampled values, mean and deviation.

    The bound is 1e-4 of the output's own deviation, what float32 on different machines agrees to.
    """
    assert tuple(output.shape) == tuple(golden[f"{prefix}/shape"])
    std = float(golden[f"{prefix}/std"])
    values = output.detach().double().numpy().ravel()
    error = np.abs(values[golden[f"{prefix}/idx"]] - golden[f"{prefix}/val"]).max()
    assert error <= 1e-4 * std, f"{prefix}: {error / std:.2e} of the deviation"
    assert abs(values.mean() - golden[f"{prefix}/mean"]) <= 1e-4 * std
    assert abs(values.std() - std) <= 1e-4 * std
