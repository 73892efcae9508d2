"""LSNet's networks and their parts, registered in MMEngine's root ``MODELS``."""

from importlib import import_module
from typing import Any

from mmengine.registry import MODELS

from lsnet_mm.registry import register_on_demand

from .attention import Attention
from .ls_conv import LSConv, LSConv2d, ls_conv2d
from .lsnet import LSNet

__all__ = [
    "Attention",
    "DistilledClassifier",
    "LSConv",
    "LSConv2d",
    "LSConvVisionTransformer",
    "LSNet",
    "LSNetClsHead",
    "LSNetFPN",
    "ls_conv2d",
]

# These build on mmdet and mmpretrain, which take seconds to import and may not be installed.
_ON_DEMAND = {
    "LSNetFPN": f"{__name__}.lsnet_fpn",
    "LSNetClsHead": f"{__name__}.cls_head",
    "DistilledClassifier": f"{__name__}.distillation",
    "LSConvVisionTransformer": f"{__name__}.vision_transformer",
    "TimmFeatures": f"{__name__}.timm_backbone",
}
for _name, _module in _ON_DEMAND.items():
    register_on_demand(MODELS, _name, _module)


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
