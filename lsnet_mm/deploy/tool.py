"""What ``tools/export.py`` does once its arguments are parsed."""

import argparse
import copy
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_state_dict
from torch import Tensor, nn

from lsnet_mm.check.files import UnusableFileError, as_rgb, load_image
from lsnet_mm.datasets.shapes import make_scene
from lsnet_mm.engine.hooks import CheckpointFitHook
from lsnet_mm.engine.run import load_config
from lsnet_mm.errors import InputError
from lsnet_mm.loading import guarded
from lsnet_mm.models.pretrained import read_checkpoint

from .export import export_onnx, export_openvino, export_torch, halve, optional
from .metadata import describe, input_size
from .quantize import quantize
from .runtime import load
from .verify import compare
from .wrappers import SegmentorGraph, graph

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch-export": (),
}
LEAST_TRACED = 320  # pixels: RetinaNet's coarsest map, of stride 128, then has more than one cell


@guarded
def export(args: argparse.Namespace) -> Path:
    """Export as ``tools/export.py``'s arguments say, and return the file.

    Raises:
        InputError: If the arguments, config or checkpoint do not fit, a package is missing, or the
            exported network does not give PyTorch's results; no file is left then.
    """
    _check(args)
    cfg = load_config(args)
    model = load_model(cfg, args.checkpoint)
    network = graph(model, args.logits)
    if args.logits and not isinstance(network, SegmentorGraph):
        raise InputError("--logits is for segmentors")
    size = args.size or input_size(cfg)
    metadata = describe(cfg, network, size, args.dynamic_size, _precision(args))
    # Tracing may take for a constant what depends on the size: another size shows it.
    other = (size[0] + 64, size[1] + 32) if args.dynamic_size else size
    inputs = [
        sample_input(model, network, picture(path, sides, i))
        for i, sides in enumerate((size, other))
        for path in args.samples or [None]
    ]
    traced = inputs[0]
    if args.dynamic_size:
        sides = tuple(max(side, LEAST_TRACED) for side in size)
        traced = sample_input(model, network, picture(None, sides, 0))
    out = Path(args.out or f"{Path(args.config).stem}{SUFFIXES[args.format]}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export_") as folder:
        file = _write(args, network, traced, metadata, Path(folder) / out.name)
        compare(network, load(file), inputs, args.tolerance)
        if args.int8:
            quantize(file, args.int8, args.calibration_images, cfg)
        for part in file.parent.glob(f"{out.stem}.*"):
            part.replace(out.parent / part.name)
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB)")
    return out


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Build a config's model for inference and load a checkpoint that fits it wholly, as data.

    Raises:
        CheckpointError: If the file cannot be read or does not fit.
    """
    if "://" not in checkpoint and not Path(checkpoint).is_file():
        raise InputError(f"checkpoint not found: {checkpoint}")
    init_default_scope(cfg.default_scope)
    # A copy, as mmpretrain's batch augmentation changes its config: it could not be built again.
    model = revert_sync_batchnorm(MODELS.build(copy.deepcopy(cfg.model)))
    content = read_checkpoint(checkpoint)
    fit = CheckpointFitHook(filename=checkpoint)
    fit.after_load_checkpoint(SimpleNamespace(model=model), content)
    load_state_dict(model, content.get("state_dict", content), strict=False)
    return model.eval()


def picture(path: str | None, size: tuple[int, int], index: int) -> np.ndarray:
    """An image to compare on, RGB (H, W, 3) uint8.

    Args:
        path: Of an image file, which is resized; None for a synthetic scene.
        size: H and W.
        index: Of the synthetic scene.

    Raises:
        InputError: If the file is no image.
    """
    if path is None:
        return make_scene(size[::-1], 0, "val", index).image
    try:
        return np.array(as_rgb(load_image(path)).resize(size[::-1]))
    except UnusableFileError as error:
        raise InputError(f"--samples: {path} {error.problem.what}") from error


def sample_input(model: nn.Module, network: nn.Module, image: np.ndarray) -> tuple[Tensor, ...]:
    """An image (H, W, 3) as input of a network; for detectors as if resized to half of its size."""
    preprocessor = model.data_preprocessor
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    images = (pixels - preprocessor.mean) / preprocessor.std
    if "boxes" not in network.outputs:
        return (images,)
    return images, torch.tensor(image.shape[:2]).float(), torch.tensor([0.5, 0.5])


def _check(args: argparse.Namespace) -> None:
    for package in PACKAGES[args.format]:
        optional(package)
    if args.out and Path(args.out).suffix != SUFFIXES[args.format]:
        raise InputError(f"--out: {args.format} files end in {SUFFIXES[args.format]}: {args.out}")
    if args.int8 and (args.format != "onnx" or args.fp16):
        raise InputError("--int8 goes with --format onnx, without --fp16")
    if args.fp16 and args.format == "torch-export":
        raise InputError("--fp16 goes with --format onnx and openvino")


def _precision(args: argparse.Namespace) -> str:
    return "int8" if args.int8 else "float16" if args.fp16 else "float32"


def _write(
    args: argparse.Namespace, network: nn.Module, sample: tuple, metadata: dict, file: Path
) -> Path:
    options = dict(
        dynamic_batch="boxes" not in network.outputs,
        dynamic_size=args.dynamic_size,
        metadata=metadata,
    )
    if args.format == "torch-export":
        return export_torch(network, sample, file, **options)
    onnx_file = file.with_suffix(".onnx")
    export_onnx(network, sample, onnx_file, output_names=network.outputs, **options)
    if args.format == "openvino":
        export_openvino(onnx_file, file, fp16=args.fp16)
        onnx_file.unlink()
    elif args.fp16:
        halve(onnx_file)
    return file
