"""LSNet in mmseg's segmentors."""

from collections.abc import Iterator, Sequence

from mmengine.config import ConfigDict

from .maps import STRIDES, Map, channels, lsnet, measure, name, take_all, unknown


def fit_segmentor(network: ConfigDict, arch: str) -> None:
    """Replace the backbone, and have neck and heads take its maps.

    They know strides only relative to each other: the maps are LSNet's, in order.

    Raises:
        InputError: If it cannot be told how.
    """
    former = network.backbone
    old = measure(former)
    steps = [b.stride / a.stride for a, b in zip([Map(0, 4), *old], old, strict=False)]
    if not 2 <= len(old) <= len(STRIDES) or any(step not in (1, 2) for step in steps):
        raise unknown(f"what is on {name(former)}, whose maps are no pyramid from stride 4", old)
    dilated = [i > 0 and step == 1 for i, step in enumerate(steps)]
    network.backbone, new = lsnet(arch, range(len(old)))
    if network.get("neck"):
        old, new = _fit_neck(network, former, old, new)
        dilated = [False] * len(old)
    for kind in ("decode_head", "auxiliary_head"):
        heads = network.get(kind) or []
        heads = heads if isinstance(heads, list | tuple) else [heads]
        for head in heads:
            last = kind == "decode_head" and head is heads[-1]
            for part in _readers(head):
                _fit_reader(part, old, new, dilated, last)


def _fit_neck(
    network: ConfigDict, former: ConfigDict, old: list[Map], new: list[Map]
) -> tuple[list[Map], list[Map]]:
    """Adapt the neck, and return its maps before and now."""
    neck = network.neck
    if list(neck.get("in_channels", ())) != channels(old):
        raise unknown(f"neck {name(neck)}", old)
    before = measure(former, neck)
    take_all(neck, old, new)
    after = measure(network.backbone, neck)
    if len({b.stride / a.stride for a, b in zip(before, after, strict=True)}) > 1:
        raise unknown(f"neck {name(neck)}", old)
    return before, after


def _readers(head: ConfigDict) -> Iterator[ConfigDict]:
    """The head, or those inside of it, that reads maps."""
    if "in_channels" in head:
        yield head
    else:
        for part in head.values():
            if isinstance(part, dict) and "in_index" in part:
                yield part


def _fit_reader(
    head: ConfigDict, old: list[Map], new: list[Map], dilated: Sequence[bool], last: bool
) -> None:
    index = head.get("in_index", -1)
    if isinstance(head.in_channels, int):
        at = index % len(old)
        # The last decode head on another map than the last: the backbone has fused that itself.
        if head.in_channels != old[at].channels or (last and at < len(old) - 1):
            raise unknown(f"{name(head)} on map {index}", old)
        if dilated[at]:
            head.in_channels = channels(new[: at + 1])
            head.in_index = list(range(at + 1))
            head.input_transform = "resize_concat"
        else:
            head.in_channels = new[at].channels
    else:
        listed = range(len(old)) if isinstance(index, int) else index
        read = [old[i] for i in listed]
        if list(head.in_channels) != channels(read) or any(dilated[i] for i in listed):
            raise unknown(f"{name(head)} on maps {index}", old)
        take_all(head, read, [new[i] for i in listed])
    if "c1_in_channels" in head:  # DeepLabV3+: the finest map
        head.c1_in_channels = new[0].channels
