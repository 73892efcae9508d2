"""A tiny network of each task as config, checkpoint and exported file, made once."""

from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lsnet_mm.deploy import export_openvino
from lsnet_mm.deploy.metadata import class_names
from lsnet_mm.deploy.tool import export
from lsnet_mm.inference import Predictor
from tests.deploy.test_tool import arguments

# Test pipelines for images of 160x120 pixels, and the size that they are then padded to.
PIPELINES = {
    "cls": [
        dict(
            type="LoadImageFromFile",
            imdecode_backend="pillow",
            color_type="color_ignore_orientation",
        ),
        dict(type="ResizeEdge", scale=128, edge="short", backend="pillow", interpolation="bicubic"),
        dict(type="CenterCrop", crop_size=112),
        dict(type="PackInputs"),
    ],
    "seg": [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(2048, 144), keep_ratio=True),
        dict(type="ResizeToMultiple", size_divisor=32),
        dict(type="LoadAnnotations", reduce_zero_label=True),
        dict(type="PackSegInputs"),
    ],
    "det": [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(200, 150), keep_ratio=True),
        dict(
            type="PackDetInputs",
            meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        ),
    ],
}
PIPELINES["mask"] = PIPELINES["det"]
SIZES = {"cls": (112, 112), "seg": (160, 192), "det": (160, 224), "mask": (160, 224)}


class Files:
    """Files of one network, made when first asked for, and predictors of them.

    The checkpoint holds its config, as ``tools/train.py`` writes it.
    """

    def __init__(self, task: str, folder: Path) -> None:
        self._args = arguments(task, folder, size=SIZES[task], logits=task == "seg")
        self.config, self.checkpoint = self._args.config, self._args.checkpoint
        with open(self.config, "a") as file:
            file.write(f"test_pipeline = {PIPELINES[task]!r}\n")  # mmseg's functions want it so
            file.write("test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n")
        cfg = Config.fromfile(self.config)
        meta = dict(cfg=cfg.pretty_text, dataset_meta=class_names(cfg))
        torch.save(dict(state_dict=torch.load(self.checkpoint), meta=meta), self.checkpoint)
        self._folder = folder
        self._predictors: dict[str, Predictor] = {}

    def predictor(self, kind: str = "pth") -> Predictor:
        """Of the config and checkpoint, or of the exported file of a suffix."""
        if kind not in self._predictors:
            given = (self.config, self.checkpoint) if kind == "pth" else (self._export(kind),)
            self._predictors[kind] = Predictor(*given, trust_checkpoint=kind == "pt2")
        return self._predictors[kind]

    def _export(self, suffix: str) -> Path:
        onnx, out = self._folder / "net.onnx", self._folder / f"net.{suffix}"
        if suffix == "xml":
            return export_openvino(onnx, out)
        export(
            Namespace(
                **{
                    **vars(self._args),
                    "out": str(out),
                    "format": {"onnx": "onnx", "pt2": "torch-export"}[suffix],
                }
            )
        )
        return out


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """A function from a task's name in SIZES to its files."""

    return cache(lambda task: Files(task, tmp_path_factory.mktemp(task)))


@pytest.fixture(scope="session")
def images(shapes) -> list[Path]:
    """Six images of 160x120 pixels."""
    return sorted((shapes / "val2017").glob("*.jpg"))
