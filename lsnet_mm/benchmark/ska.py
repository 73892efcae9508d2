"""SKA alone: our operator beside plain torch, and beside the least time that its bytes take."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsnet_mm.ops import ska

from .measure import Timing, peak_memory, time_in_turn

Ska = Callable[[Tensor, Tensor], Tensor]

OURS = ("ska", "unfold", "copy")
TAPS = 9
GROUP = 8  # channels that share a weight set

# Channels and stride of the stages that have LS convolutions.
STAGES = {
    "t": ((128, 16), (256, 32)),
    "s": ((192, 16), (320, 32)),
    "b": ((128, 8), (256, 16), (384, 32)),
}


def unfold_ska(x: Tensor, w: Tensor) -> Tensor:
    """SKA as one would write it first in torch: unfold, multiply, sum. See ``lsnet_mm.ops.ska``."""
    n, channels, height, width = x.shape
    sets, taps = w.shape[1:3]
    size = round(taps**0.5)
    patches = F.unfold(x, size, padding=size // 2)
    patches = patches.view(n, channels // sets, sets, taps, height, width)
    return (patches * w[:, None]).sum(3).view_as(x)


class UnfoldSKA(nn.Module):
    """:func:`unfold_ska` as a module, in the place of ``lsnet_mm.ops.SKA``."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Aggregate ``x`` (N, C, H, W) with ``w`` (N, S, K * K, H, W)."""
        return unfold_ska(x, w)


def compare(
    arch: str,
    size: tuple[int, int],
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    repeats: int,
    others: Mapping[str, Ska] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Measure forward and backward at every shape that a network has for images of a size.

    Args:
        arch: ``'t'``, ``'s'`` or ``'b'``.
        size: Height and width of the images.
        batch: Images.
        dtype: Of features and weights.
        device: To run on.
        repeats: Timings of each.
        others: Further versions of the operator, by name.

    Returns:
        A row for every shape and direction: seconds of ``ska``, of ``unfold_ska`` and the others,
        and of a copy of as many bytes as must at least be moved; extra bytes of the first two.
    """
    rows = []
    for channels, stride in STAGES[arch]:
        shape = (batch, channels, -(-size[0] // stride), -(-size[1] // stride))
        x = torch.randn(shape, dtype=dtype, device=device)
        w = torch.randn(batch, channels // GROUP, TAPS, *shape[2:], dtype=dtype, device=device)
        kinds = {"ska": ska, "unfold": unfold_ska, **others}
        for direction, calls in _calls(x, w, kinds).items():
            times = time_in_turn(calls, repeats, device)
            rows.append(_row(shape, direction, calls, times, device))
    return rows


def _calls(
    x: Tensor, w: Tensor, kinds: Mapping[str, Ska]
) -> dict[str, dict[str, Callable[[], Any]]]:
    """What is timed, by direction and name."""
    grad = torch.randn_like(x)
    xg, wg = x.clone().requires_grad_(), w.clone().requires_grad_()
    graphs = {name: kind(xg, wg) for name, kind in kinds.items()}
    forward = {name: lambda kind=kind: kind(x, w) for name, kind in kinds.items()}
    backward = {
        name: lambda y=y: torch.autograd.grad(y, (xg, wg), grad, retain_graph=True)
        for name, y in graphs.items()
    }
    # Forward reads x and w and writes y; backward reads x, w and y's gradient and writes x's and
    # w's. A copy reads and writes, so it moves twice its size.
    floors = (2 * x.numel() + w.numel(), 3 * x.numel() + 2 * w.numel())
    for calls, elements in zip((forward, backward), floors, strict=True):
        source = torch.empty(elements // 2, dtype=x.dtype, device=x.device)
        calls["copy"] = partial(torch.empty_like(source).copy_, source)
    return {"forward": forward, "backward": backward}


def _row(
    shape: tuple[int, ...],
    direction: str,
    calls: dict[str, Callable[[], Any]],
    times: dict[str, Timing],
    device: torch.device,
) -> dict[str, Any]:
    memory = {name: peak_memory(calls[name], device) for name in ("ska", "unfold")}
    ours, plain, floor = (times[name].median for name in OURS)
    return {
        "shape": "x".join(map(str, shape)),
        "direction": direction,
        "ska_ms": 1e3 * ours,
        "unfold_ms": 1e3 * plain,
        "floor_ms": 1e3 * floor,
        "speedup": plain / ours,
        "of_floor": floor / ours,
        **{f"over_{name}": times[name].median / ours for name in times if name not in OURS},
        "ska_mib": memory["ska"] / 2**20,
        "unfold_mib": memory["unfold"] / 2**20,
    }
