"""LSNet's networks and their parts, registered in MMEngine's root ``MODELS``."""

from typing import Any

from mmengine.registry import MODELS

from .attention import Attention
from .ls_conv import LSConv
from .lsnet import LSNet

__all__ = ["Attention", "LSConv", "LSNet", "LSNetFPN"]


def __getattr__(name: str) -> Any:
    if name == "LSNetFPN":  # on demand: it brings in all of mmdet, which classifiers do without
        from .lsnet_fpn import LSNetFPN

        return LSNetFPN
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@MODELS.register_module(name="LSNetFPN")
def _build_lsnet_fpn(**cfg: Any) -> Any:
    from .lsnet_fpn import LSNetFPN

    return LSNetFPN(**cfg)
