"""Running exported files: the file alone and its runtime, without the network's code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lsnet_mm.errors import InputError

from .export import METADATA, optional


class Runtime(Protocol):
    """An exported network: a function of an image batch with its metadata.

    Attributes:
        metadata: What was given when it was exported; empty if nothing was.
        outputs: Names of the arrays that it returns; empty if the format keeps none.
    """

    metadata: dict[str, Any]
    outputs: Sequence[str]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Inputs to outputs; images (N, 3, H, W) float32, prepared as the metadata say, first."""


def load(path: str | Path, threads: int | None = None) -> Runtime:
    """Load an exported file into its runtime, on the CPU.

    Args:
        path: .onnx for ONNX Runtime, .xml for OpenVINO (its .bin beside it), .pt2 for torch.
        threads: To compute with; the runtime's own choice if None. For .pt2 torch's setting holds.

    Raises:
        InputError: If there is no such file, its format is unknown, or its runtime is missing.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"an exported file ends in {', '.join(FORMATS)}, got {path}")
    if not path.is_file():
        raise InputError(f"exported file not found: {path}")
    return FORMATS[path.suffix](path, threads)


class OnnxRuntime:
    """See :class:`Runtime`."""

    def __init__(self, path: Path, threads: int | None) -> None:
        ort = optional("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.metadata = _parse(self._session.get_modelmeta().custom_metadata_map.get(METADATA))

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """See :class:`Runtime`."""
        return self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))


class OpenVino:
    """See :class:`Runtime`."""

    def __init__(self, path: Path, threads: int | None) -> None:
        openvino = optional("openvino")
        # Without the hint some CPUs would compute in bfloat16.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        model = openvino.Core().read_model(path)
        self._request = openvino.compile_model(model, "CPU", settings).create_infer_request()
        self.outputs = [next(iter(sorted(output.names)), "") for output in model.outputs]
        has = model.has_rt_info([METADATA])
        self.metadata = _parse(model.get_rt_info([METADATA]).value if has else None)

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """See :class:`Runtime`."""
        found = self._request.infer(list(inputs))
        return [found[i].copy() for i in range(len(self.outputs))]


class TorchExport:
    """See :class:`Runtime`."""

    def __init__(self, path: Path, _: int | None) -> None:
        import torch
        import torchvision  # noqa: F401  detectors' graphs hold its NMS and RoIAlign

        extra = {METADATA: ""}
        self._torch = torch
        self._module = torch.export.load(path, extra_files=extra).module()
        self.metadata = _parse(extra[METADATA])
        self.outputs = self.metadata.get("outputs", ())

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """See :class:`Runtime`."""
        with self._torch.no_grad():
            found = self._module(*map(self._torch.from_numpy, inputs))
        return [t.numpy() for t in (found if isinstance(found, tuple | list) else (found,))]


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int], threshold: float = 0.5
) -> np.ndarray:
    """Masks of boxes in the whole image.

    Args:
        masks: Probabilities on an even grid over each box, (D, M, M).
        boxes: As (x1, y1, x2, y2) in pixels of the image, (D, 4).
        size: The image's height and width.
        threshold: Probability from which a pixel belongs to the object.

    Returns:
        Bool (D, H, W); probabilities are interpolated bilinearly and 0 outside the grid.
    """
    pasted = np.zeros((len(masks), *size), bool)
    for out, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes, strict=True):
        down = _interpolation(y1, y2, size[0], mask.shape[0])
        across = _interpolation(x1, x2, size[1], mask.shape[1])
        out[:] = down @ mask @ across.T >= threshold
    return pasted


def _interpolation(start: float, end: float, pixels: int, cells: int) -> np.ndarray:
    """Weight of every cell of a grid from ``start`` to ``end`` at every pixel, (pixels, cells)."""
    scale = cells / max(end - start, 1e-6)
    position = (np.arange(pixels, dtype=np.float32) + 0.5 - start) * scale - 0.5
    return np.clip(1 - np.abs(position[:, None] - np.arange(cells)), 0, None).astype(np.float32)


FORMATS = {".onnx": OnnxRuntime, ".xml": OpenVino, ".pt2": TorchExport}


def _parse(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}
