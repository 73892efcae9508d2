"""Time, memory and arithmetic of calls: side by side in one run, in turn, medians."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells of itself on every call

SHORTEST = 2e-3  # seconds a timing takes at least, to be well above the clock's own

Call = Callable[[], Any]


class Timing(NamedTuple):
    """Seconds of one call: the median of all timings, and the first and ninth decile."""

    median: float
    low: float
    high: float


def time_in_turn(
    calls: Mapping[str, Call], repeats: int, device: torch.device
) -> dict[str, Timing]:
    """Time calls in turn, so that whatever else the machine does falls on all of them alike.

    Before each timing the call is made once untimed: what the one before has left behind, caches
    and runtimes' threads that still spin for work, is then not counted.

    Args:
        calls: To time, by name. Each is called a few times before, to warm up.
        repeats: Timings of each, 1 or more.
        device: That they run on; it is waited for.
    """
    loops = {name: _loops(call, device) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            seconds[name].append(_seconds(call, loops[name], device) / loops[name])
    return {name: _summary(values) for name, values in seconds.items()}


def _loops(call: Call, device: torch.device) -> int:
    """How often to call in one timing; warms up by the way."""
    call()
    duration = min(_seconds(call, 1, device) for _ in range(3))
    return max(1, round(SHORTEST / duration))


def _seconds(call: Call, loops: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(loops):
        call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(values: Sequence[float]) -> Timing:
    deciles = quantiles(values, n=10) if len(values) > 1 else values
    return Timing(median(values), deciles[0], deciles[-1])


def peak_memory(call: Call, device: torch.device) -> int:
    """Bytes that a call allocates at its peak, beyond what was allocated before it."""
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    now = peak = 0
    events = profile.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def macs(call: Call) -> int:
    """Multiply-adds of a call's convolutions, products, attention and SKA."""
    mapping = {
        torch.ops.lsnet_mm.ska: _ska_flops,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    return counter.get_total_flops() // 2


def _ska_flops(x: Sequence[int], w: Sequence[int], *_: Any, **__: Any) -> int:
    n, channels, height, width = x
    return 2 * n * channels * height * width * w[2]


def _attention_flops(
    q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: Any, **__: Any
) -> int:
    """torch counts attention on GPUs only."""
    return sdpa_flop_count(q, k, v)


def tensors(output: Any) -> list[Tensor]:
    """All tensors in a nest of lists, tuples and dicts."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [t for item in output for t in tensors(item)] if isinstance(output, list | tuple) else []
