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
INPUT = "images"


def export_onnx(
    model: nn.Module,
    sample: Tensor,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write any network as an ONNX model of standard operators; ``model`` itself is left as it is.

    Args:
        model: Takes images (N, 3, H, W) and returns a tensor or a tuple of them.
        sample: Images that it is traced with, on the CPU, of the size that the graph is for.
        path: File to write.
        dynamic_batch: Whether the graph takes any N.
        dynamic_size: Whether the graph takes any H and W. Attention biases are then resized by the
            graph on every call; for one size they are constants.
        output_names: Of the graph's outputs.
        metadata: What can be written as JSON, to travel in the file.

    Raises:
        InputError: If a package that this takes is missing.
    """
    onnx = optional("onnx")
    optional("onnxscript")
    with _quiet():
        program = torch.onnx.export(
            rewrite(model, sample, fixed_size=not dynamic_size),
            (_at_least_two(sample) if dynamic_batch else sample,),
            input_names=[INPUT],
            output_names=output_names,
            dynamic_shapes=(_free_axes(dynamic_batch, dynamic_size),),
            dynamo=True,
            verbose=False,
        )
    graph = program.model_proto
    if metadata is not None:
        onnx.helper.set_model_props(graph, {METADATA: json.dumps(metadata)})
    onnx.save(graph, path)
    return Path(path)


def export_openvino(onnx_file: str | Path, path: str | Path) -> Path:
    """Write an ONNX file's model and metadata as OpenVINO's IR: ``path`` (.xml) and a .bin beside.

    Raises:
        InputError: If a package that this takes is missing.
    """
    onnx, openvino = optional("onnx"), optional("openvino")
    model = openvino.convert_model(onnx_file)
    for entry in onnx.load(onnx_file, load_external_data=False).metadata_props:
        model.set_rt_info(entry.value, [entry.key])
    openvino.save_model(model, path, compress_to_fp16=False)
    return Path(path)


def export_torch(
    model: nn.Module,
    sample: Tensor,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write any network as torch.export's archive (.pt2), which torch alone loads.

    Arguments are those of :func:`export_onnx`.
    """
    axes = _free_axes(dynamic_batch, dynamic_size)
    with _quiet():
        program = torch.export.export(
            rewrite(model, sample, fixed_size=not dynamic_size),
            (_at_least_two(sample) if dynamic_batch else sample,),
            dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
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


def _free_axes(batch: bool, size: bool) -> dict[int, str]:
    return ({0: "batch"} if batch else {}) | ({2: "height", 3: "width"} if size else {})


def _at_least_two(sample: Tensor) -> Tensor:
    """The sample in a batch, as torch.export takes a size of 1 for a constant."""
    return sample.repeat(2, 1, 1, 1) if len(sample) == 1 else sample


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
