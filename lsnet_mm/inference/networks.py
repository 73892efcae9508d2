"""What answers for images: a config's model with its checkpoint, or an exported file."""

import warnings
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import TRANSFORMS, init_default_scope
from torch import Tensor
from torch.nn import functional as F

from lsnet_mm.check.files import inspect_image
from lsnet_mm.deploy import fold
from lsnet_mm.deploy.metadata import class_names, test_pipeline
from lsnet_mm.deploy.runtime import FORMATS, load, paste_masks
from lsnet_mm.deploy.tool import load_model
from lsnet_mm.engine.run import adapt_config, load_config
from lsnet_mm.engine.samples import mend_deep_grey
from lsnet_mm.errors import InputError, UnsafeFileError
from lsnet_mm.loading import carried_config, trusted
from lsnet_mm.models.pretrained import read_checkpoint

# The library whose transforms prepare a task's images.
SCOPES = {"detection": "mmdet", "segmentation": "mmseg", "classification": "mmpretrain"}

CHECKPOINTS = (".pth", ".pt", ".ckpt")

Answer = dict[str, np.ndarray | None]


class Prepared(NamedTuple):
    """An image, read and prepared for a network.

    Attributes:
        image: As it was read, BGR, uint8 (H, W, 3).
        data: What the network's pipeline made of it.
        size: Height and width that it has for the network.
    """

    image: np.ndarray
    data: dict[str, Any]
    size: tuple[int, int]


class Network(ABC):
    """A network with all that its images go through before.

    Args:
        task: One of ``SCOPES``.
        steps: Of its test pipeline, in mm's terms, reading a file first.
        classes: Names of its classes; empty if not known.
        palette: Their colours, RGB; empty if not known.
    """

    def __init__(
        self, task: str, steps: Sequence[dict], classes: Sequence[str], palette: Sequence
    ) -> None:
        self.task = task
        self.classes = tuple(classes)
        self.palette = tuple(tuple(colour) for colour in palette)
        init_default_scope(SCOPES[task])
        self._load = TRANSFORMS.build(dict(steps[0]))
        self._steps = Compose([dict(step) for step in steps[1:]])

    def read(self, path: str | Path) -> np.ndarray:
        """Decode an image file as the config does: BGR, uint8 (H, W, 3).

        Raises:
            InputError: If it is missing, damaged or no image.
        """
        problems = inspect_image(str(path)).problems
        if problems:
            raise InputError(f"{path}: {problems[0].what}")
        try:
            data = self._load(dict(img_path=str(path)))
            mend_deep_grey(data, str(path), self._load)
            return data["img"]
        except (cv2.error, AssertionError, OSError, ValueError) as error:
            raise InputError(f"{path}: {error}") from error

    def prepare(self, image: np.ndarray, name: str) -> Prepared:
        """Prepare an image, BGR, uint8 (H, W, 3).

        Raises:
            InputError: If it cannot be brought to a size for the network.
        """
        shape = image.shape[:2]
        data = dict(img=image, img_path=name, img_id=0, img_shape=shape, ori_shape=shape)
        try:
            return self._prepared(image, self._steps(data))
        except (cv2.error, AssertionError, ValueError) as error:  # say, of a side of 0 pixels
            raise InputError(
                f"{name}: an image of {shape[1]}x{shape[0]} pixels cannot be prepared: {error}"
            ) from error

    @abstractmethod
    def _prepared(self, image: np.ndarray, data: dict[str, Any]) -> Prepared: ...

    @abstractmethod
    def __call__(self, batch: Sequence[Prepared]) -> list[Answer]:
        """Answer for images of one size, with the arrays of the task's kind of result."""


class CheckpointNetwork(Network):
    """A config's model with a checkpoint's weights, folded.

    Args:
        cfg: The config.
        checkpoint: Its weights, which must fit wholly.
        classes: Names of the classes; None for the config's.
        device: To compute on.

    Raises:
        InputError: If they do not fit together, or the config is of no task known here.
    """

    def __init__(
        self, cfg: Config, checkpoint: str, classes: Sequence[str] | None, device: torch.device
    ) -> None:
        tasks = {scope: task for task, scope in SCOPES.items()}
        scope = cfg.get("default_scope")
        if scope not in tasks:
            raise InputError(f"default_scope must be one of {', '.join(tasks)}, got {scope!r}")
        self.model = fold(load_model(cfg, checkpoint)).to(device)
        known = class_names(cfg)
        super().__init__(
            tasks[scope], test_pipeline(cfg), classes or known["classes"], known["palette"]
        )

    def _prepared(self, image: np.ndarray, data: dict[str, Any]) -> Prepared:
        return Prepared(image, data, tuple(data["inputs"].shape[1:]))

    @torch.no_grad()
    def __call__(self, batch: Sequence[Prepared]) -> list[Answer]:
        """See :class:`Network`."""
        samples = self.model.test_step(pseudo_collate([item.data for item in batch]))
        return [self._answer(sample.cpu()) for sample in samples]

    def _answer(self, sample: Any) -> Answer:
        if self.task == "classification":
            return dict(scores=sample.pred_score.numpy())
        if self.task == "segmentation":
            return dict(labels=sample.pred_sem_seg.data[0].numpy())
        found = sample.pred_instances
        masks = found.masks.numpy() if "masks" in found else None
        boxes, scores, labels = found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()
        return dict(boxes=boxes, scores=scores, labels=labels, masks=masks)


class ExportedNetwork(Network):
    """A file that ``tools/export.py`` wrote; it carries classes and preprocessing.

    Args:
        path: The file.

    Raises:
        InputError: If it cannot be loaded, or its metadata do not tell what it takes.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._runtime = load(path)
        except InputError:
            raise
        except Exception as error:  # each runtime has its own
            raise InputError(f"{path} cannot be loaded: {error}") from error
        metadata = self._runtime.metadata
        if "task" not in metadata or "preprocess" not in metadata:
            raise InputError(
                f"{path} does not tell its task and preprocessing: only files that tools/export.py "
                "wrote carry them"
            )
        how = metadata["preprocess"]
        # JSON has made lists of tuples, which mm's transforms tell apart.
        steps = [
            {key: tuple(v) if isinstance(v, list) else v for key, v in step.items()}
            for step in (how.get("load", dict(type="LoadImageFromFile")), *how["resize"])
        ]
        task = "detection" if "boxes" in metadata["outputs"] else metadata["task"]
        super().__init__(task, steps, metadata["classes"], metadata["palette"])
        self._fixed = None if how["dynamic_size"] else tuple(how["size"])
        self._pad_value = how["pad_value"]
        self._normalise = ImgDataPreprocessor(
            how["mean"], how["std"], how["pad_divisor"], how["pad_value"], how["channels"] == "rgb"
        )

    def _prepared(self, image: np.ndarray, data: dict[str, Any]) -> Prepared:
        pixels = data["img"]
        if self._fixed:
            pixels = self._fit(pixels)
        size = pixels.shape[:2]
        return Prepared(image, dict(pixels=np.ascontiguousarray(pixels)), size)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        """Shrink an image that is too large for the file's one size; padding comes later."""
        (height, width), (most_high, most_wide) = pixels.shape[:2], self._fixed
        factor = min(most_high / height, most_wide / width, 1)
        padded = self.task != "detection" and (height, width) != self._fixed
        if factor < 1 or padded:
            warnings.warn(
                f"the exported file takes {most_high}x{most_wide} pixels alone: images of other "
                "shapes are shrunk or padded, and results are not quite the checkpoint's. "
                "tools/export.py --dynamic-size writes a file for any size",
                stacklevel=2,
            )
        if factor == 1:
            return pixels
        return mmcv.imresize(pixels, (int(width * factor + 0.5), int(height * factor + 0.5)))

    def __call__(self, batch: Sequence[Prepared]) -> list[Answer]:
        """See :class:`Network`."""
        inputs = [torch.from_numpy(item.data["pixels"]).permute(2, 0, 1) for item in batch]
        images = self._normalise(dict(inputs=inputs))["inputs"]
        if self._fixed:
            missing = [
                most - side for most, side in zip(self._fixed, images.shape[2:], strict=True)
            ]
            images = F.pad(images, (0, missing[1], 0, missing[0]), value=self._pad_value)
        if self.task == "detection":
            return [
                self._detect(image, item) for image, item in zip(images.numpy(), batch, strict=True)
            ]
        found = [torch.from_numpy(array) for array in self._runtime(images.numpy())]
        if self.task == "classification":
            return [dict(scores=scores.numpy()) for scores in found[0]]
        return [self._label(item, *maps) for item, *maps in zip(batch, *found, strict=True)]

    def _detect(self, image: np.ndarray, item: Prepared) -> Answer:
        height, width = item.image.shape[:2]
        scale = np.float32([item.size[1] / width, item.size[0] / height])
        boxes, scores, labels, *masks = self._runtime(image[None], np.float32(item.size), scale)
        kept = scores > 0
        boxes = boxes[kept]
        pasted = paste_masks(masks[0][kept], boxes, (height, width)) if masks else None
        return dict(boxes=boxes, scores=scores[kept], labels=labels[kept], masks=pasted)

    @staticmethod
    def _label(item: Prepared, labels: Tensor, logits: Tensor | None = None) -> Answer:
        """A label map of the image's own size: from logits as mmseg's, or else the nearest."""
        height, width = item.size
        size = item.image.shape[:2]
        if logits is not None and len(logits) > 1:
            resized = F.interpolate(logits[None, :, :height, :width], size, mode="bilinear")
            return dict(labels=resized[0].argmax(0).numpy())
        nearest = labels[None, None, :height, :width].float()
        return dict(labels=F.interpolate(nearest, size, mode="nearest-exact")[0, 0].long().numpy())


def open_network(
    model: str | Path,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
) -> Network:
    """Open what :class:`~lsnet_mm.inference.Predictor` is given, within ``guarded_loading``.

    Raises:
        InputError: If it cannot be used.
    """
    path = Path(model)
    if path.suffix in FORMATS:
        _refuse_beside(path, checkpoint=checkpoint, cfg_options=cfg_options)
        if device not in (None, "cpu"):
            raise InputError(f"exported files run on the CPU here, not on {device!r}")
        if path.suffix == ".pt2" and not trusted():  # it may call any function of torch
            raise UnsafeFileError(str(path), "torch.export's reader of programs (.onnx needs none)")
        with carried_config(path):
            return ExportedNetwork(path)
    if path.suffix == ".py":
        if not checkpoint:
            raise InputError(f"{path} is a config: name its weights too, --checkpoint FILE")
        cfg = load_config(_arguments(path, cfg_options))
        return CheckpointNetwork(cfg, str(checkpoint), None, _device(device))
    if path.suffix not in CHECKPOINTS:
        raise InputError(
            f"{path}: a model is a config (.py) with --checkpoint FILE, a checkpoint that holds "
            f"its config ({', '.join(CHECKPOINTS)}) or an exported file ({', '.join(FORMATS)})"
        )
    _refuse_beside(path, checkpoint=checkpoint)
    chosen = _device(device)
    with carried_config(path):
        try:
            cfg, classes = _own_config(path, cfg_options)
            return CheckpointNetwork(cfg, str(path), classes, chosen)
        except Exception as error:  # what it says may be anything
            if isinstance(error, InputError) and str(path) in str(error):
                raise
            raise InputError(f"{path}: the config that it holds cannot be used: {error}") from error


def _refuse_beside(path: Path, **others: Any) -> None:
    for name, value in others.items():
        if value:
            option = name.replace("_", "-")
            raise InputError(f"--{option} goes with a config, but {path} holds all that it needs")


def _arguments(path: Path, options: Sequence[str] | None) -> Namespace:
    return Namespace(config=str(path), cfg_options=options, work_dir=None, launcher="none")


def _own_config(path: Path, options: Sequence[str] | None) -> tuple[Config, Sequence[str] | None]:
    """The config that a checkpoint of tools/train.py carries, and its names of classes."""
    content = read_checkpoint(str(path))
    meta = content.get("meta") if isinstance(content, dict) else None
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise InputError(
            f"{path} holds no config: name it, tools/infer.py CONFIG.py INPUT --checkpoint {path}"
        )
    cfg = adapt_config(Config.fromstring(text, ".py"), _arguments(path, options))
    return cfg, (meta.get("dataset_meta") or {}).get("classes")


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
