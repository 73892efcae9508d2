"""A network as a file for another runtime: ONNX, OpenVINO or torch.export's archive.

All three start from one graph of standard operators: batch normalisation is folded and LSNet's own
layers are rewritten first, see :func:`lsnet_mm.deploy.rewrite.rewrite`.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lsnet_mm.errors import InputError

from .rewrite import rewrite

METADATA = "lsnet_mm"  # the one entry, a JSON text, under which a file keeps its metadata
INPUTS = ("images", "size", "scale")  # the latter two of detectors
OLDEST_TORCH = (2, 6)  # older ones cannot be told which axes are free


def export_onnx(
    model: nn.Module,
    sample: Tensor | tuple[Tensor, ...],
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write any network as an ONNX model of standard operators; ``model`` itself is left as it is.

    Args:
        model: Takes images (N, 3, H, W), and maybe other tensors, and returns a tensor or a tuple.
        sample: Images that it is traced with, on the CPU, of the size that the graph is for; a
            tuple of all inputs if there are others.
        path: File to write.
        dynamic_batch: Whether the graph takes any N.
        dynamic_size: Whether the graph takes any H and W. Attention biases are then resized by the
            graph on every call; for one size they are constants. The sample must be so large that
            no map is one cell high or wide: tracing takes a size of 1 for a constant.
        output_names: Of the graph's outputs.
        metadata: What can be written as JSON, to travel in the file.

    Raises:
        InputError: If a package that this takes is missing, or torch is too old.
    """
    onnx = optional("onnx")
    optional("onnxscript")
    inputs, axes = _traced(sample, dynamic_batch, dynamic_size)
    with _quiet():
        program = torch.onnx.export(
            rewrite(model, inputs, fixed_size=not dynamic_size),
            inputs,
            input_names=INPUTS[: len(inputs)],
            output_names=output_names,
            dynamic_shapes=(axes, *[None] * (len(inputs) - 1)),
            dynamo=True,
            verbose=False,
        )
    graph = program.model_proto
    if metadata is not None:
        onnx.helper.set_model_props(graph, {METADATA: json.dumps(metadata)})
    onnx.save(graph, path)
    return Path(path)


def export_openvino(onnx_file: str | Path, path: str | Path, fp16: bool = False) -> Path:
    """Write an ONNX file's model and metadata as OpenVINO's IR: ``path`` (.xml) and a .bin beside.

    Args:
        onnx_file: From :func:`export_onnx`.
        path: File to write.
        fp16: Store weights in float16; inputs and outputs stay float32.

    Raises:
        InputError: If a package that this takes is missing.
    """
    onnx, openvino = optional("onnx"), optional("openvino")
    model = openvino.convert_model(onnx_file)
    for entry in onnx.load(onnx_file, load_external_data=False).metadata_props:
        model.set_rt_info(entry.value, [entry.key])
    openvino.save_model(model, path, compress_to_fp16=fp16)
    return Path(path)


def halve(onnx_file: str | Path) -> None:
    """Make an ONNX file compute in float16, in place; inputs and outputs stay as they are.

    Raises:
        InputError: If a package that this takes is missing.
    """
    onnx = optional("onnx")
    optional("onnxruntime")
    float16 = import_module("onnxruntime.transformers.float16")
    model = onnx.load(onnx_file)
    with _quiet():
        onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), onnx_file)


def export_torch(
    model: nn.Module,
    sample: Tensor | tuple[Tensor, ...],
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write any network as torch.export's archive (.pt2), which torch alone loads.

    Arguments are those of :func:`export_onnx`.

    Raises:
        InputError: If torch is too old.
    """
    inputs, axes = _traced(sample, dynamic_batch, dynamic_size)
    free = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    with _quiet():
        program = torch.export.export(
            rewrite(model, inputs, fixed_size=not dynamic_size),
            inputs,
            dynamic_shapes=(free, *[None] * (len(inputs) - 1)),
        )
        extra = {METADATA: json.dumps(metadata)} if metadata is not None else {}
        torch.export.save(program, path, extra_files=extra)
    return Path(path)


def optional(package: str) -> ModuleType:
    """Import a package that only exporting and running exported files take.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"this takes the package {package}: pip install {package}, or all that exporting may "
            "take with pip install 'lsnet_mm[deploy]'"
        ) from error


def _traced(
    sample: Tensor | tuple[Tensor, ...], batch: bool, size: bool
) -> tuple[tuple[Tensor, ...], dict[int, str]]:
    """Inputs to trace with, and the names of the image batch's free axes."""
    if torch.__version__ < OLDEST_TORCH:
        raise InputError(
            f"exporting takes torch {'.'.join(map(str, OLDEST_TORCH))} or later, and this is "
            f"{torch.__version__}: export the checkpoint in an environment with a later one"
        )
    images, *others = sample if isinstance(sample, tuple) else (sample,)
    if batch and len(images) == 1:  # torch.export takes a size of 1 for a constant
        images = images.repeat(2, 1, 1, 1)
    axes = ({0: "batch"} if batch else {}) | ({2: "height", 3: "width"} if size else {})
    return (images, *others), axes


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' advice to their developers."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
