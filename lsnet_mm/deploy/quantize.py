"""Static int8 quantisation of an ONNX model, and what it costs in accuracy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional as F

from lsnet_mm.engine.data import check_paths
from lsnet_mm.engine.runner import ExplainingRunner
from lsnet_mm.errors import InputError

from .export import optional
from .runtime import Runtime, load, paste_masks

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
QUANTISED = ["Conv", "Gemm"]  # the rest is cheap, or as LSNet's dynamic kernels, delicate


def quantize(file: Path, folder: str, count: int, cfg: Config) -> Path:
    """Quantise an ONNX file in place; print its accuracy and float32's on the config's test data.

    Weights are int8, one scale per channel; activations uint8, with the ranges seen in calibration.

    Args:
        file: float32, from :func:`lsnet_mm.deploy.export_onnx`.
        folder: Of images to calibrate with; they go through the config's test pipeline.
        count: How many of them, evenly spread.
        cfg: The network's.

    Returns:
        ``file``.

    Raises:
        InputError: If there are no images, or the config's test data are missing.
    """
    onnx = optional("onnx")
    optional("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_static

    check_paths(cfg, ("test_dataloader",))
    runtime = load(file)
    before = accuracy(cfg, runtime)
    quantised = file.with_name("quantised.onnx")
    quantize_static(
        file,
        quantised,
        _Reader(_batches(cfg, _images(folder, count))),
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(quantised)
    onnx.helper.set_model_props(model, {p.key: p.value for p in onnx.load(file).metadata_props})
    onnx.save(model, file)
    quantised.unlink()
    after = accuracy(cfg, load(file))
    for metric, value in before.items():
        print(f"{metric}: float32 {value:.4g}, int8 {after[metric]:.4g}")
    return file


def accuracy(cfg: Config, runtime: Runtime) -> dict[str, float]:
    """Metrics of an exported network on a config's test data."""
    cfg = cfg.copy()
    cfg.load_from = None
    cfg.experiment_name = f"{Path(cfg.filename).stem}_{id(runtime)}"  # mmengine keeps one of a name
    runner = ExplainingRunner.from_cfg(cfg)
    _attach(runner.model, runtime)
    return runner.test()


def _attach(model: nn.Module, runtime: Runtime) -> None:
    """Have a model of mm predict by an exported network."""

    def classify(images: torch.Tensor, samples: list, **_: Any) -> list:
        scores = torch.from_numpy(runtime(images.numpy())[0])
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(0, keepdim=True))
        return samples

    def segment(images: torch.Tensor, _: list[dict]) -> torch.Tensor:
        labels = torch.from_numpy(runtime(images.numpy())[0])
        return F.one_hot(labels, model.decode_head.num_classes).permute(0, 3, 1, 2).float()

    def detect(images: torch.Tensor, samples: list, rescale: bool = True) -> list:
        for image, sample in zip(images, samples, strict=True):
            size, scale = (
                np.float32(sample.metainfo[k][:2]) for k in ("img_shape", "scale_factor")
            )
            boxes, scores, labels, *masks = runtime(image[None].numpy(), size, scale)
            kept = scores > 0
            found = dict(bboxes=boxes, scores=scores, labels=labels)
            if masks:
                found["masks"] = paste_masks(masks[0], boxes, sample.ori_shape[:2])
            sample.pred_instances = InstanceData(
                **{k: torch.from_numpy(v[kept]) for k, v in found.items()}
            )
        return samples

    task = runtime.metadata["task"]
    if task == "classification":
        model.predict = classify
    elif task == "segmentation":
        model.encode_decode = segment
    else:
        model.predict = detect


def _images(folder: str, count: int) -> list[Path]:
    files = sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files or count < 1:
        raise InputError(f"--int8: no images ({', '.join(sorted(SUFFIXES))}) in {folder}")
    return [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]


def _batches(cfg: Config, files: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    """Images as a network's inputs, one at a time, prepared as the config's test pipeline does."""
    init_default_scope(cfg.default_scope)
    steps = [s for s in cfg.test_dataloader.dataset.pipeline if s.type != "LoadAnnotations"]
    prepare = Compose(steps)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for file in files:
        sample = prepare(dict(img_path=str(file), img_id=0, gt_label=0))
        data = preprocessor(pseudo_collate([sample]), False)
        feeds = {"images": data["inputs"].numpy()}
        if cfg.default_scope == "mmdet":
            meta = data["data_samples"][0].metainfo
            feeds["size"] = np.float32(meta["img_shape"][:2])
            feeds["scale"] = np.float32(meta["scale_factor"])
        yield feeds


class _Reader:
    """What onnxruntime asks calibration data of."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Inputs by name, or None at the end."""
        return next(self._batches, None)
