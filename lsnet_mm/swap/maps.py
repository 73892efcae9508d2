"""Feature maps: what a config's backbone and neck give, and what LSNet gives."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor

from lsnet_mm.errors import InputError
from lsnet_mm.model_zoo import find
from lsnet_mm.models import LSNet

STRIDES = (8, 16, 32, 64)  # of LSNet's stages
SIDE = 256  # of the image that networks are measured on


class Map(NamedTuple):
    """A feature map.

    Attributes:
        channels: Its channels.
        stride: Pixels of the image from one of its cells to the next.
    """

    channels: int
    stride: int


def measure(*parts: Any) -> list[Map]:
    """Build parts of a network, run them one after the other and return the last one's maps.

    Pooled features (N, C) count as a map of one cell.

    Args:
        *parts: Configs, such as a backbone's, or a backbone's and a neck's.

    Raises:
        InputError: If a part does not run, or does not give maps.
    """
    outputs: Any = torch.zeros(1, 3, SIDE, SIDE)
    for part in parts:
        try:
            network = MODELS.build(_without_weights(part))
            network.eval()  # of mm's networks, some do not return themselves
            with torch.no_grad():
                outputs = network(outputs)
        except Exception as error:  # whatever a library's network may raise
            raise InputError(f"use_in: {name(part)} cannot be run: {error}") from error
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if not all(isinstance(output, Tensor) and output.dim() in (2, 4) for output in outputs):
        raise InputError(f"use_in: {name(parts[-1])} does not give feature maps")
    cells = [output.shape[3] if output.dim() == 4 else 1 for output in outputs]
    return [Map(x.shape[1], round(SIDE / n)) for x, n in zip(outputs, cells, strict=True)]


def _without_weights(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_without_weights(one) for one in part]
    return {k: v for k, v in copy.deepcopy(part).items() if k not in ("init_cfg", "pretrained")}


def name(part: Any) -> str:
    """Return the type that a part's config names, without its library; of several, the first's."""
    part = part[0] if isinstance(part, list | tuple) else part
    return str(part.get("type")).split(".")[-1]


def lsnet(arch: str, stages: Sequence[int], **settings: Any) -> tuple[ConfigDict, list[Map]]:
    """Return the config of an LSNet with the published weights, and its maps.

    Args:
        arch: ``'t'``, ``'s'`` or ``'b'``.
        stages: Those whose maps it gives, out of 0 to 3.
        **settings: Further arguments of :class:`~lsnet_mm.models.LSNet`.
    """
    if list(stages) != list(range(len(STRIDES))):
        settings["out_indices"] = tuple(stages)
    weights = dict(type="Pretrained", checkpoint=find(f"lsnet_{arch}").url)
    network = ConfigDict(type="LSNet", arch=arch, **settings, init_cfg=weights)
    widths = LSNet.arch_zoo[arch]["channels"]
    return network, [Map(widths[i], STRIDES[i]) for i in stages]


def channels(maps: Sequence[Map]) -> list[int]:
    """Return the channels of maps."""
    return [one.channels for one in maps]


def strides(maps: Sequence[Map]) -> list[int]:
    """Return the strides of maps."""
    return [one.stride for one in maps]


def take_all(part: ConfigDict, old: Sequence[Map], new: Sequence[Map]) -> None:
    """Have a part that names all maps' channels, and perhaps strides, take others."""
    part.in_channels = type(part.in_channels)(channels(new))
    if list(part.get("strides", ())) == strides(old):
        part.strides = type(part.strides)(strides(new))


def unknown(what: str, old: Sequence[Map]) -> InputError:
    """Return the error of a part that the rules do not cover."""
    gave = ", ".join(f"{width} at stride {stride}" for width, stride in old)
    return InputError(
        f"use_in: cannot tell how to give LSNet's maps to {what}. The former backbone's channels "
        f"are {gave}. Replace it by hand, in a config with lsnet_mm.base(...) as a second base: "
        "docs/compatibility.md shows how"
    )
