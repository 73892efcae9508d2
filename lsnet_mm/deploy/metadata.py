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
    padded = preprocessor.get("test_cfg") or {}  # mmseg's
    rgb = preprocessor.get("to_rgb") or preprocessor.get("bgr_to_rgb") or False
    return {
        "task": _task(network),
        "outputs": list(network.outputs),
        "config": Path(cfg.filename).stem,
        "version": __version__,
        "precision": precision,
        **class_names(cfg),
        "preprocess": {
            "load": dict(test_pipeline(cfg)[0]),  # the config's, in its terms
            "mean": list(preprocessor.mean),
            "std": list(preprocessor.std),
            "channels": "rgb" if rgb else "bgr",  # of mean, std and the input
            "resize": [dict(step) for step in _geometry(cfg)],  # likewise
            "pad_divisor": preprocessor.get("pad_size_divisor") or padded.get("size_divisor") or 1,
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


def test_pipeline(cfg: Config) -> list[dict]:
    """Steps that a config's test images go through, without those that load annotations.

    Raises:
        InputError: If there are none, or reading a file is not the first of them.
    """
    pipeline = _dataset(cfg).get("pipeline") or []
    steps = [step for step in pipeline if not step.type.endswith("LoadAnnotations")]
    if not steps or not steps[0].type.endswith("LoadImageFromFile"):
        raise InputError("the config's test_dataloader must have a pipeline with LoadImageFromFile")
    return steps


def class_names(cfg: Config) -> dict[str, Any]:
    """Names and colours of a config's classes: the config's, else those of its data set's kind.

    Returns:
        ``classes`` and ``palette``, lists; empty if not known.
    """
    dataset = _dataset(cfg)
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        kind = registry.get(dataset.type) if "type" in dataset else None
    known = {**getattr(kind, "METAINFO", {}), **dataset.get("metainfo", {})}
    return {
        "classes": list(known.get("classes") or []),
        "palette": [list(colour) for colour in known.get("palette") or []],
    }


def _geometry(cfg: Config) -> list[dict]:
    return [step for step in test_pipeline(cfg) if step.type in GEOMETRY]


def _dataset(cfg: Config) -> dict[str, Any]:
    """The test set, of several the first."""
    dataset = (cfg.get("test_dataloader") or cfg.get("val_dataloader") or {}).get("dataset", {})
    while inner := dataset.get("dataset") or dataset.get("datasets"):
        dataset = inner[0] if isinstance(inner, list | tuple) else inner
    return dataset


def _task(network: nn.Module) -> str:
    if "masks" in network.outputs:
        return "instance segmentation"
    if "boxes" in network.outputs:
        return "detection"
    return "segmentation" if "labels" in network.outputs else "classification"
