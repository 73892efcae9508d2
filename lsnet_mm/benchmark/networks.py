"""Networks side by side, each in several modes: eager, folded, compiled, in other runtimes."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsnet_mm.deploy import fold
from lsnet_mm.errors import InputError

from .measure import macs, peak_memory, time_in_turn
from .subjects import training_step

RUNTIMES = ("onnxruntime", "openvino")


def compare(
    networks: Mapping[str, Callable[[], nn.Module]],
    modes: Sequence[str],
    batch: int,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    repeats: int,
    train: bool = False,
    channels_last: bool = False,
) -> list[dict[str, Any]]:
    """Measure networks on one batch of random images.

    Args:
        networks: What builds each, by name; the first is what the others are compared with.
        modes: ``'eager'``, ``'folded'``, ``'compiled'``, ``'folded-compiled'``; or
            ``'onnxruntime'``, ``'openvino'``: exported, for inference in float32 on a CPU.
        batch: Images in the batch.
        size: Height and width of the images.
        dtype: Of weights and images; in training, of autocast.
        device: To run on.
        repeats: Timings of each.
        train: Measure a training step instead of inference.
        channels_last: Memory format of weights and images.

    Returns:
        A row for every network and mode.

    Raises:
        InputError: If there is no such network, or a mode does not go with the rest.
    """
    if set(modes) & set(RUNTIMES) and (train or device.type != "cpu" or dtype != torch.float32):
        raise InputError(f"{' and '.join(RUNTIMES)} are for inference in float32 on a CPU")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(batch, 3, *size, device=device).to(memory_format=layout)
    x = x if train else x.to(dtype)
    models, calls = {}, {}
    for name, build in networks.items():
        for mode in modes:
            model = build().to(device, None if train else dtype, memory_format=layout)
            models[name, mode] = model
            prepare = _training if train else _inference
            calls[name, mode] = prepare(model, mode, x, dtype)
    times = time_in_turn(calls, repeats, device)
    counted = set() if train else {"eager", "folded"}
    baseline = next(iter(times.values())).median
    return [
        {
            "network": name,
            "mode": mode,
            "parameters_m": sum(p.numel() for p in models[name, mode].parameters()) / 1e6,
            "gmacs": _gmacs(calls[name, mode], batch) if mode in counted else None,
            "memory_mib": None
            if mode in RUNTIMES
            else peak_memory(calls[name, mode], device) / 2**20,
            "ms": 1e3 * time.median,
            "ms_low": 1e3 * time.low,
            "ms_high": 1e3 * time.high,
            "images_per_s": batch / time.median,
            "speedup": baseline / time.median,
        }
        for (name, mode), time in times.items()
    ]


def _inference(model: nn.Module, mode: str, x: Tensor, _: torch.dtype) -> Callable[[], Any]:
    model.eval()
    if mode in RUNTIMES:
        return _exported(model, mode, x)
    if "folded" in mode:
        fold(model)
    if "compiled" in mode:
        model = torch.compile(model)
    return partial(_no_grad, model, x)


def _exported(model: nn.Module, runtime: str, x: Tensor) -> Callable[[], Any]:
    from lsnet_mm.deploy.export import export_onnx, export_openvino
    from lsnet_mm.deploy.runtime import load

    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(model, x, Path(folder) / "network.onnx", dynamic_batch=False)
        if runtime == "openvino":
            path = export_openvino(path, path.with_suffix(".xml"))
        return partial(load(path, torch.get_num_threads()), x.contiguous().numpy())


def _no_grad(model: Callable[[Tensor], Any], x: Tensor) -> Any:
    with torch.no_grad():
        return model(x)


def _training(model: nn.Module, mode: str, x: Tensor, dtype: torch.dtype) -> Callable[[], Any]:
    model.train()
    if "compiled" in mode:
        model.compile()
    step = training_step(model, x)
    return partial(_autocast, step, x.device.type, dtype)


def _autocast(step: Callable[[], Any], device: str, dtype: torch.dtype) -> None:
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        step()


def _gmacs(call: Callable[[], Any], batch: int) -> float:
    return macs(call) / batch / 1e9
