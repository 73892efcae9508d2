"""What travels in an exported file: classes, palette, preprocessing, origin."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import nn

from lsnet_mm.errors import InputError
from lsnet_mm.version import __version__

GEOMETRY = ("Resize", "ResizeEdge", "CenterCrop", "ResizeToMultiple")


def describe(
    cfg: Config, network: nn.Module, size: tuple[int, int], dynamic_size: bool, precision: str
) -> dict[str, Any]:
    """Metadata of an exported network.

    Args:
        cfg: Its config.
        network: Its graph, see :func:`lsnet_mm.deploy.wrappers.graph`.
        size: Height and width that it is exported for.
        dynamic_size: Whether it takes others.
        precision: ``'float32'``, ``'float16'`` or ``'int8'``.
    """
    preprocessor = cfg.model.data_preprocessor
    rgb = preprocessor.get("to_rgb") or preprocessor.get("bgr_to_rgb") or False
    return {
        "task": _task(network),
        "outputs": list(network.outputs),
        "config": Path(cfg.filename).stem,
        "version": __version__,
        "precision": precision,
        **_classes(cfg),
        "preprocess": {
            "mean": list(preprocessor.mean),
            "std": list(preprocessor.std),
            "channels": "rgb" if rgb else "bgr",  # of mean, std and the input
            "resize": [dict(step) for step in _geometry(cfg)],  # the config's, in its terms
            "pad_divisor": preprocessor.get("pad_size_divisor", 1),
            "pad_value": preprocessor.get("pad_value", preprocessor.get("pad_val", 0)),
            "size": list(size),
            "dynamic_size": dynamic_size,
        },
    }


def input_size(cfg: Config) -> tuple[int, int]:
    """Height and width that a config's images mostly have: of its crop, padded size or scale.

    Raises:
        InputError: If the config does not tell.
    """
    steps = {step.type: step for step in _geometry(cfg)}
    preprocessor = cfg.model.data_preprocessor
    if "CenterCrop" in steps:
        size = steps["CenterCrop"].crop_size
        return (size, size) if isinstance(size, int) else tuple(size)
    if preprocessor.get("size"):
        return tuple(preprocessor.size)
    scale = steps.get("Resize", {}).get("scale")
    if not scale:
        raise InputError("the config does not tell the images' size: give it, e.g. --size 224x224")
    width, height = (scale, scale) if isinstance(scale, int) else scale
    divisor = preprocessor.get("pad_size_divisor", 1)
    return tuple(-(-side // divisor) * divisor for side in (height, width))


def _geometry(cfg: Config) -> list[dict]:
    loader = cfg.get("test_dataloader") or cfg.get("val_dataloader") or {}
    pipeline = loader.get("dataset", {}).get("pipeline", [])
    return [step for step in pipeline if step.type in GEOMETRY]


def _classes(cfg: Config) -> dict[str, Any]:
    """Names and colours: the config's, else those of its data set's kind."""
    dataset = (cfg.get("test_dataloader") or cfg.get("val_dataloader") or {}).get("dataset", {})
    kind = DATASETS.get(dataset.type) if "type" in dataset else None
    known = {**getattr(kind, "METAINFO", {}), **dataset.get("metainfo", {})}
    return {
        "classes": list(known.get("classes") or []),
        "palette": [list(colour) for colour in known.get("palette") or []],
    }


def _task(network: nn.Module) -> str:
    if "masks" in network.outputs:
        return "instance segmentation"
    if "boxes" in network.outputs:
        return "detection"
    return "segmentation" if "labels" in network.outputs else "classification"
