"""LSNet in detectors: mmdet's, also for instance and panoptic segmentation."""

import copy
from collections.abc import Sequence

from mmengine.config import ConfigDict

from lsnet_mm.errors import InputError

from .maps import STRIDES, Map, channels, lsnet, measure, name, strides, take_all, unknown

FINER = STRIDES[0] // 2
PYRAMID = 256  # channels of the LSNetFPN in front of another neck


def fit_detector(network: ConfigDict, arch: str) -> None:
    """Replace the backbone, and have neck or heads take its maps.

    Raises:
        InputError: If it cannot be told how, or if the neck's maps would differ from those before.
    """
    former = network.backbone
    old = measure(former)
    if network.get("neck"):
        before = measure(former, network.neck)
        parts = network.neck if isinstance(network.neck, list | tuple) else [network.neck]
        _fit_neck(network, copy.deepcopy(parts), old, arch)
        if old[0].stride == FINER and not _gives(network, before):
            # As NAS-FCOS', which skips the finest map but counts it.
            _put_pyramid_in_front(network, copy.deepcopy(parts), old, arch)
    elif readers := [head for head in network.values() if _reads_all(head, old)]:
        # Pixel decoders: they know strides only relative to each other.
        network.backbone, maps = lsnet(arch, range(len(old)))
        for head in readers:
            take_all(head, old, maps)
        return
    elif len(old) == 1 and old[0].stride in STRIDES:
        # The heads know the backbone's map only as so many channels: a layer makes as many.
        before = old
        network.backbone, maps = lsnet(arch, [STRIDES.index(old[0].stride)])
        network.neck = ConfigDict(
            type="ChannelMapper",
            in_channels=channels(maps),
            out_channels=old[0].channels,
            num_outs=1,
        )
    else:
        raise unknown(f"heads on {name(former)}", old)
    if not _gives(network, before):
        raise unknown(f"neck {name(network.neck)}", old)


def _gives(network: ConfigDict, maps: list[Map]) -> bool:
    try:
        return measure(network.backbone, network.neck) == maps
    except InputError:
        return False


def _reads_all(head: object, old: Sequence[Map]) -> bool:
    return isinstance(head, dict) and head.get("in_channels") == channels(old)


def _fit_neck(network: ConfigDict, parts: list[ConfigDict], old: list[Map], arch: str) -> None:
    """Replace the backbone, and have the first of the neck's parts take LSNet's maps."""
    neck = parts[0]
    taken = neck.get("in_channels")
    single = isinstance(taken, int)  # such necks take the last map
    named = [taken] if single else list(taken or ())
    read = old[-1:] if single else old[: len(named)]
    order = -1 if named == channels(read)[::-1] else 1  # some name the coarsest first
    if not named or named[::order] != channels(read):
        raise unknown(f"neck {name(neck)}", old)
    used = read[neck.get("start_level", 0) :]
    finer = used[0].stride == FINER
    own = used[finer:]  # those whose strides LSNet has
    if not own or own[0].stride not in STRIDES:
        raise unknown(f"neck {name(neck)}", old)
    if finer and name(neck) != "FPN":
        _put_pyramid_in_front(network, parts, read, arch)
        return
    # Necks make the levels that the backbone does not give. LSNet gives as many as it has.
    levels = max(neck.get("num_outs", 0) - finer, len(own))
    first = STRIDES.index(own[0].stride)
    network.backbone, maps = lsnet(arch, range(first, min(first + levels, len(STRIDES))))
    network.neck = parts if isinstance(network.neck, list | tuple) else neck
    neck.in_channels = maps[-1].channels if single else type(taken)(channels(maps)[::order])
    if finer:
        neck.update(type="LSNetFPN", num_extra_trans_convs=1)
    if "start_level" in neck:
        neck.start_level = 0


def _put_pyramid_in_front(
    network: ConfigDict, parts: list[ConfigDict], old: list[Map], arch: str
) -> None:
    """Replace the backbone by one that gives maps of the former strides, 4 and more."""
    stages = [STRIDES.index(stride) for stride in strides(old)[1:]]
    network.backbone, maps = lsnet(arch, stages)
    pyramid = ConfigDict(
        type="LSNetFPN",
        in_channels=channels(maps),
        out_channels=PYRAMID,
        num_outs=len(old),
        num_extra_trans_convs=1,
    )
    parts[0].in_channels = type(parts[0].in_channels)([PYRAMID] * len(old))
    network.neck = [pyramid, *parts]
