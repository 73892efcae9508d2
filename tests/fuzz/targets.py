"""What is fuzzed, by name."""

from collections.abc import Callable
from pathlib import Path

from .datasets import Coco, Images, LabelMaps
from .downloads import Downloads
from .engine import Target
from .pickles import CarriedConfigs, Checkpoints, Predictions, WholeCheckpoints

TARGETS: dict[str, Callable[[Path], Target]] = {
    "coco": Coco,
    "label-maps": LabelMaps,
    "images": Images,
    "checkpoints": Checkpoints,
    "whole-checkpoints": WholeCheckpoints,
    "carried-configs": CarriedConfigs,
    "predictions": Predictions,
    "downloads": Downloads,
}
