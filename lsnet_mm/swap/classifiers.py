"""LSNet in mmpretrain's networks."""

from mmengine.config import ConfigDict

from .maps import SIDE, STRIDES, lsnet, measure, name, unknown


def fit_classifier(network: ConfigDict, arch: str) -> None:
    """Replace the backbone, and have neck or head take its last map.

    A backbone that pools its features itself is followed by a pooling neck. Statistics of BatchNorm
    are trained and the attention's table is small, as in the published classifiers.

    Raises:
        InputError: If neither neck nor head names the former map's channels.
    """
    old = measure(network.backbone)
    width, stride = old[-1]
    parts = [network.get("neck"), network.get("head")]
    readers = [
        part for part in parts if isinstance(part, dict) and part.get("in_channels") == width
    ]
    if not readers:
        raise unknown(f"neck and head of {name(network)}", old)
    last = [len(STRIDES) - 1]
    network.backbone, maps = lsnet(arch, last, norm_eval=False, resolution=4)
    readers[0].in_channels = maps[0].channels
    if stride == SIDE and not network.get("neck"):
        network.neck = ConfigDict(type="GlobalAveragePooling")
