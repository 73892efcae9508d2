"""Readers of annotations, images and label maps."""

import contextlib
import json
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image

from lsnet_mm.check.coco import CocoContents
from lsnet_mm.check.coco_file import LEFT_OUT
from lsnet_mm.check.files import UnusableFileError, inspect_files, inspect_image, load_image
from lsnet_mm.check.grid import draw_grid
from lsnet_mm.check.report import full_list, problem_lines
from lsnet_mm.check.semantic import inspect_labelled, read_meaning
from lsnet_mm.check.statistics import image_lines
from lsnet_mm.datasets.shapes import make_scene

from .change import change_bytes, change_json, change_png, change_tree, odd_value
from .engine import Target

SIZE = (40, 30)  # width and height of images
CLASSES = ("cat", "dog", "eel")
PACKED = "i49e0000000000000000000000000000eb0"  # a box as a compressed mask
INVERSE = "0i49lK000000000000000000000000000eb0"  # all but it


def scene(index: int) -> Image.Image:
    """Return a small picture."""
    return Image.fromarray(make_scene((160, 120), 0, "train", index).image).resize(SIZE)


class Coco(Target):
    """COCO's annotation files: what the check finds, and whether training reads what it passes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for i in range(3):
            scene(i).save(folder / f"{i}.png")
        self.sound = {
            "images": [
                dict(id=i + 5, file_name=f"{i}.png", width=SIZE[0], height=SIZE[1])
                for i in range(3)
            ],
            "annotations": [self._annotation(i) for i in range(8)],
            "categories": [dict(id=2 * i + 1, name=name) for i, name in enumerate(CLASSES)],
        }

    @staticmethod
    def _annotation(i: int) -> dict:
        x, y, w, h = 3 * i, i, 8 + i, 9
        polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        inside = SIZE[1] * 4, SIZE[1] * 2, SIZE[1] * (SIZE[0] - 6)
        runs = dict(size=[SIZE[1], SIZE[0]], counts=list(inside))
        packed = dict(size=[SIZE[1], SIZE[0]], counts=PACKED if i == 6 else INVERSE)
        return dict(
            id=i + 1,
            image_id=5 + i % 2,
            category_id=2 * (i % 3) + 1,
            bbox=[x, y, w, h],
            area=w * h,
            iscrowd=int(i in (4, 7)),
            segmentation=(polygon, runs, polygon, polygon, runs, polygon * 2, packed, packed)[i],
        )

    def start(self, random: Random) -> dict:
        return json.loads(json.dumps(self.sound))

    def change(self, value: Any, random: Random) -> Any:
        return change_tree(value, random, odd_value)

    def encode(self, value: Any, random: Random) -> bytes:
        return json.dumps(value).encode()

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        return change_json(data, random)

    def _dataset(self, path: Path, **others: Any) -> CocoDataset:
        prefix = dict(img=str(self.folder))
        metainfo = dict(classes=CLASSES)
        return CocoDataset(ann_file=str(path), data_prefix=prefix, metainfo=metainfo, **others)

    def read(self, path: Path) -> bool:
        init_default_scope("mmdet")
        sound = self._check(path)
        if sound:
            self._train(path)
        return sound

    def _check(self, path: Path) -> bool:
        contents = CocoContents(self._dataset(path, lazy_init=True), masks=True)
        found = inspect_files(contents.inspect, contents.items[:20], 1, "fuzz")
        problems = [*contents.problems, *found.problems]
        lines = image_lines(found.sizes, len(contents.paths))
        if contents.paths:
            lines += contents.statistics(found)
        thumbnails = []
        for index in contents.shown:
            with contextlib.suppress(UnusableFileError):
                thumbnails.append(contents.thumbnail(index))
        if thumbnails:
            draw_grid(thumbnails, contents.classes, contents.palette)
        for text in (full_list(problems), *problem_lines(problems), *lines):
            text.encode()
        # As before every run: the rest mmdet leaves out.
        return all(problem.warning or problem.kind in LEFT_OUT for problem in problems)

    def _train(self, path: Path) -> None:
        pipeline = [
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="Resize", scale=(50, 50), keep_ratio=True),
            dict(type="RandomFlip", prob=1.0),
            dict(type="PackDetInputs"),
        ]
        dataset = self._dataset(path, pipeline=pipeline, serialize_data=False)
        for i in range(len(dataset)):
            boxes = dataset[i]["data_samples"].gt_instances.bboxes.tensor
            assert torch.isfinite(boxes).all()


class LabelMaps(Target):
    """PNG label maps: what the check finds, and whether mmseg reads what it passes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        init_default_scope("mmseg")
        scene(0).save(folder / "image.png")
        labels = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[::-1]) % 3 + 1
        labels[:5] = 0
        grey, palette = Image.fromarray(labels), Image.fromarray(labels)
        palette.putpalette([*range(256)] * 3)
        deep = Image.fromarray(labels.astype(np.uint16))
        self.files = []
        for image in (grey, palette, deep, grey.convert("1"), grey.convert("RGB")):
            out = BytesIO()
            image.save(out, "png")
            self.files.append(out.getvalue())
        self.dataset = BaseSegDataset(
            data_prefix=dict(img_path=str(folder), seg_map_path=str(folder)),
            metainfo=dict(classes=CLASSES),
            reduce_zero_label=True,
            lazy_init=True,
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        )
        self.meaning = read_meaning(self.dataset, len(CLASSES))

    def start(self, random: Random) -> bytes:
        return random.choice(self.files[:2]) if random.random() < 0.8 else random.choice(self.files)

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        return (change_png if random.random() < 0.7 else change_bytes)(data, random)

    def read(self, path: Path) -> bool:
        image = str(self.folder / "image.png")
        record = inspect_labelled(self.meaning, (image, str(path)))
        with contextlib.suppress(UnusableFileError):
            load_image(str(path)).convert("RGB")
        if record.problems:
            return False
        info = dict(img_path=image, seg_map_path=str(path), label_map=None)
        info.update(reduce_zero_label=True, seg_fields=[])
        labels = self.dataset.pipeline(info)["gt_seg_map"]
        assert labels.shape == SIZE[::-1], labels.shape
        assert set(np.unique(labels)) <= {0, 1, 2, 255}, np.unique(labels)
        return True


class Images(Target):
    """Image files, through the check's decoder and training's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = []
        kinds = ("jpeg", "png", "webp", "bmp", "tiff", "gif", "ppm", "jpeg", "jpeg", "png")
        for i, kind in enumerate(kinds):
            image, out, options = scene(i), BytesIO(), {}
            if i >= 7:
                image = image.convert("L" if i == 7 else "CMYK" if i == 8 else "RGBA")
            if kind == "jpeg" and i != 8:
                exif = Image.Exif()
                exif[0x0112] = 6
                options = dict(exif=exif, progressive=bool(i))
            image.save(out, kind, **options)
            self.files.append(out.getvalue())

    def start(self, random: Random) -> bytes:
        return random.choice(self.files)

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        if data.startswith(b"\x89PNG") and random.random() < 0.7:
            return change_png(data, random)
        return (
            change_bytes(data[:100], random) + data[100:]
            if random.random() < 0.4
            else (change_bytes(data, random))
        )

    def read(self, path: Path) -> bool:
        record = inspect_image(str(path))
        try:
            load_image(str(path)).convert("RGB")
        except UnusableFileError:
            assert record.problems or path.read_bytes()[:2] == b"\xff\xd8"
        if record.problems:
            return False
        pixels = mmcv.imread(str(path))
        # Some of what PIL reads OpenCV does not: the check may pass what training then names.
        return pixels is not None and pixels.shape[1::-1] == record.size
