"""Networks side by side, each in several modes: eager, folded, compiled."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lsnet_mm.deploy import fold

from .measure import macs, peak_memory, time_in_turn
from .subjects import build, training_step


def compare(
    names: Sequence[str],
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
        names: As :func:`~lsnet_mm.benchmark.subjects.build` takes them; the first is what the
            others are compared with.
        modes: ``'eager'``, ``'folded'``, ``'compiled'`` or ``'folded-compiled'``.
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
        InputError: If there is no such network.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(batch, 3, *size, device=device).to(memory_format=layout)
    x = x if train else x.to(dtype)
    networks, calls = {}, {}
    for name in names:
        for mode in modes:
            model = build(name).to(device, None if train else dtype, memory_format=layout)
            networks[name, mode] = model
            prepare = _training if train else _inference
            calls[name, mode] = prepare(model, mode, x, dtype)
    times = time_in_turn(calls, repeats, device)
    baseline = next(iter(times.values())).median
    return [
        {
            "network": name,
            "mode": mode,
            "parameters_m": sum(p.numel() for p in networks[name, mode].parameters()) / 1e6,
            "gmacs": None if train or "compiled" in mode else _gmacs(calls[name, mode], batch),
            "memory_mib": peak_memory(calls[name, mode], device) / 2**20,
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
    if "folded" in mode:
        fold(model)
    if "compiled" in mode:
        model = torch.compile(model)
    return partial(_no_grad, model, x)


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
