"""What is fuzzed: readers of annotations, images, label maps, checkpoints and downloads."""

import argparse
import contextlib
import json
import pickle
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torch import Tensor

from lsnet_mm.check.coco import CocoContents
from lsnet_mm.check.coco_file import LEFT_OUT
from lsnet_mm.check.files import UnusableFileError, inspect_files, inspect_image, load_image
from lsnet_mm.check.grid import draw_grid
from lsnet_mm.check.report import full_list, problem_lines
from lsnet_mm.check.semantic import inspect_labelled, read_meaning
from lsnet_mm.check.statistics import image_lines
from lsnet_mm.datasets.shapes import make_scene
from lsnet_mm.deploy.tool import load_model
from lsnet_mm.download import download
from lsnet_mm.errors import InputError
from lsnet_mm.inference import Predictor
from lsnet_mm.loading import check_checkpoint
from lsnet_mm.models import LSNet
from lsnet_mm.models.pretrained import load_pretrained
from lsnet_mm.report.predictions import read_predictions
from tests.conftest import ROOT

from .change import (
    change_bytes,
    change_json,
    change_png,
    change_text,
    change_tree,
    change_zip,
    odd_value,
)
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


TINY = dict(channels=(8, 8, 8, 16), depths=(0, 1, 2, 2))


@cache
def classifier_weights() -> dict[str, Tensor]:
    """Weights by the names of the authors' files."""
    return dict(LSNet(TINY, resolution=4).state_dict())


class Checkpoints(Target):
    """Checkpoints of all layouts, into a backbone and, as they are, into a whole detector."""

    allowed = (InputError, FileNotFoundError)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.model = LSNet(TINY, resolution=4)
        self.before = {k: v.clone() for k, v in self.model.state_dict().items()}

    def start(self, random: Random) -> Any:
        state = OrderedDict((k, v.clone()) for k, v in classifier_weights().items())
        meta = dict(epoch=3, iter=30, cfg="a = 1\n", mmengine_version="0.10.12")
        return random.choice(
            (
                lambda: state,
                lambda: dict(model=state, epoch=3, args=argparse.Namespace(lr=0.1)),
                lambda: dict(meta=meta, state_dict={f"backbone.{k}": v for k, v in state.items()}),
                lambda: dict(model={f"module.{k}": v for k, v in state.items()}),
            )
        )()

    def change(self, value: Any, random: Random) -> Any:
        state = value
        if isinstance(value, dict):
            inner = [v for v in value.values() if isinstance(v, dict) and len(v) > 9]
            state = inner[0] if inner else value
        if not isinstance(state, dict) or not state or random.random() < 0.2:
            return change_tree(value, random, odd_object)
        key = random.choice(list(state))
        how = random.randrange(6)
        if how == 0:
            del state[key]
        elif how == 1:
            new = change_text(key, random) if isinstance(key, str) and key else odd_value(random)
            with contextlib.suppress(TypeError):  # not hashable
                state[new] = state.pop(key)
        elif how == 2:
            state[key] = odd_object(random)
        elif isinstance(state[key], Tensor):
            state[key] = odd_tensor(state[key], random)
        return value

    def encode(self, value: Any, random: Random) -> bytes:
        out = BytesIO()
        try:
            torch.save(value, out, _use_new_zipfile_serialization=random.random() < 0.6)
        except Exception:  # what cannot be saved is no checkpoint to be read
            return b""
        return out.getvalue()

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        if not data:
            return data
        return (change_zip if random.random() < 0.7 else change_bytes)(data, random)

    def read(self, path: Path) -> bool:
        try:
            load_pretrained(self.model, str(path))
        except Exception:
            for key, value in self.model.state_dict().items():
                assert torch.equal(value, self.before[key]), f"{key} was changed all the same"
            raise
        finally:
            self.model.load_state_dict(self.before)
        return True


class WholeCheckpoints(Checkpoints):
    """As the tools that test, export and predict load them, into a segmentor."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cfg = Config.fromfile(ROOT / "tests/configs/tiny_fpn_shapes.py")
        self.cfg.model.backbone = dict(type="LSNet", arch=TINY, resolution=4)
        self.cfg.model.neck.in_channels = [8, 8, 8, 16]
        self.model = load_nothing(self.cfg)
        self.built = SimpleNamespace(build=lambda _: self.model)
        self.before = {k: v.clone() for k, v in self.model.state_dict().items()}

    def start(self, random: Random) -> Any:
        state = OrderedDict((k, v.clone()) for k, v in self.before.items())
        return random.choice(
            (lambda: state, lambda: dict(meta=dict(epoch=1), state_dict=state, optimizer={}))
        )()

    def read(self, path: Path) -> bool:
        check_checkpoint(path)
        for value in self.model.state_dict().values():
            value.fill_(7)
        loaded = load_model(self.cfg, str(path))
        for key, value in loaded.state_dict().items():
            assert value.numel() == 0 or not (value == 7).all(), f"{key} was not loaded"
        return True


class CarriedConfigs(WholeCheckpoints):
    """Checkpoints that hold their config, as ``tools/infer.py`` takes them."""

    def start(self, random: Random) -> Any:
        model = dict(self.cfg.model.to_dict())
        kept = ("default_scope", "custom_imports", "test_dataloader", "test_pipeline", "metainfo")
        return dict({key: self.cfg.to_dict()[key] for key in kept}, model=model)

    def change(self, value: Any, random: Random) -> Any:
        return change_tree(value, random, odd_value)

    def encode(self, value: Any, random: Random) -> bytes:
        text = _assignments(value)
        if random.random() < 0.2:
            text = change_text(text, random)
        meta = dict(cfg=text, dataset_meta=dict(classes=CLASSES), epoch=1)
        return super().encode(dict(meta=meta, state_dict=self.before), random)

    def read(self, path: Path) -> bool:
        file = path.with_suffix(".pth")
        path.rename(file)
        try:
            Predictor(file, device="cpu")
        finally:
            file.rename(path)
        return True


def _assignments(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    return "".join(f"{key} = {entry!r}\n" for key, entry in value.items())


class Predictions(Target):
    """Pickles of predictions, as ``tools/report.py --predictions`` takes them."""

    def start(self, random: Random) -> Any:
        boxes = torch.tensor([[random.random() for _ in range(4)] for _ in range(3)])
        found = dict(bboxes=boxes, scores=np.arange(3.0), labels=torch.arange(3))
        return [dict(img_path=f"{i}.jpg", img_id=i, pred_instances=found) for i in range(3)]

    def change(self, value: Any, random: Random) -> Any:
        return change_tree(value, random, odd_object)

    def encode(self, value: Any, random: Random) -> bytes:
        try:
            return pickle.dumps(value, protocol=random.choice((0, 2, 4, 5)))
        except Exception:  # what cannot be pickled
            return b""

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        return change_bytes(data, random)

    def read(self, path: Path) -> bool:
        return len(read_predictions(path)) >= 0


def load_nothing(cfg: Config) -> torch.nn.Module:
    """Build a config's model."""
    from mmengine.registry import MODELS

    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def odd_object(random: Random) -> Any:
    """Return something that a pickle can hold."""
    recursive: list = []
    recursive.append(recursive)
    return random.choice(
        (
            lambda: odd_value(random),
            lambda: torch.zeros(random.choice((0, 1, 3))),
            lambda: np.zeros(3),
            lambda: np.float64(1),
            lambda: recursive,
            lambda: {1: torch.zeros(2), None: 3},
            lambda: {("a", 1): torch.zeros(2)},
            lambda: torch.nn.Linear(2, 2),
            lambda: torch.nn.Parameter(torch.zeros(2, 2)),
            lambda: Path("x"),
            lambda: argparse.Namespace(state_dict={}),
            lambda: slice(1, 2),
            lambda: torch.float16,
            lambda: b"\0\1",
            lambda: range(3),
            lambda: {"state_dict": {}},
            lambda: ValueError("x"),
        )
    )()


def odd_tensor(tensor: Tensor, random: Random) -> Tensor:
    """Return a tensor much like another, but not in all."""
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool)
    dtypes += (torch.complex64, torch.float8_e4m3fn, torch.uint16)
    square = random.choice((0, 1, 2, 15, 16, 10_000, 10**12))
    changes: tuple[Callable[[], Tensor], ...] = (
        lambda: tensor.to(random.choice(dtypes)),
        lambda: tensor.new_zeros(()).expand(random.choice((1, 2**20, 10**12)), 4, 3),
        lambda: tensor.new_zeros(()).expand(tensor.shape),
        lambda: tensor.new_zeros(()).expand(4, square),
        lambda: tensor.flatten(),
        lambda: tensor[None],
        lambda: tensor[:0],
        lambda: tensor.mT,
        lambda: tensor.to_sparse(),
        lambda: torch.full_like(tensor, float("nan") if tensor.is_floating_point() else 1),
        lambda: torch.full_like(tensor, float("inf") if tensor.is_floating_point() else 1),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        lambda: tensor.to("meta"),
        lambda: torch.nested.nested_tensor([tensor, tensor]),
        lambda: tensor.float().conj(),
        lambda: torch._neg_view(tensor.float()),
        lambda: tensor.float().requires_grad_(),
        lambda: torch.nn.Parameter(tensor.float()),
        lambda: tensor.as_subclass(torch.nn.Buffer) if hasattr(torch.nn, "Buffer") else tensor,
    )
    try:
        return random.choice(changes)()
    except (RuntimeError, TypeError, IndexError, NotImplementedError):  # torch has no such tensor
        return tensor


class Downloads(Target):
    """What a server may answer to a download: a file's bytes are headers, an empty line, a body."""

    body = bytes(range(256)) * 8

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server: ThreadingHTTPServer | None = None
        self.answer = b""

    def start(self, random: Random) -> dict:
        return {
            "status": 200,
            "headers": {
                "Content-Length": str(len(self.body)),
                "ETag": '"abc"',
                "X-Linked-Size": str(len(self.body)),
                "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT",
            },
        }

    def change(self, value: Any, random: Random) -> Any:
        headers = value.get("headers") if isinstance(value, dict) else None
        if isinstance(headers, dict) and random.random() < 0.4:
            name, text = random.choice(
                (
                    ("Content-Range", "bytes 0-2047/2048"),
                    ("Content-Range", "bytes 100-2047/99999999999999"),
                    ("X-Linked-ETag", f'"{"0" * 64}"'),
                    ("Transfer-Encoding", "chunked"),
                    ("Content-Length", "99999999999999999999"),
                    ("Content-Encoding", "gzip"),
                    ("Location", "/again"),
                )
            )
            headers[name] = text
            return value
        if isinstance(value, dict) and random.random() < 0.3:
            value["status"] = random.choice((206, 301, 302, 304, 404, 416, 503, 100, 0, 999))
            return value
        return change_tree(value, random, odd_value)

    def encode(self, value: Any, random: Random) -> bytes:
        if not isinstance(value, dict):
            return str(value).encode("utf-8", "replace")
        lines = [f"HTTP/1.1 {value.get('status')} OK"]
        headers = value.get("headers")
        if isinstance(headers, dict):
            lines += [f"{name}: {text}" for name, text in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        end = data.find(b"\r\n\r\n") + 4
        return change_bytes(data[:end], random) + data[end:] if end > 3 else data

    def _serve(self) -> str:
        if self.server is None:
            target = self

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.wfile.write(target.answer)
                    self.close_connection = True

                def log_message(self, *_: object) -> None:
                    pass

            self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def read(self, path: Path) -> bool:
        url = f"{self._serve()}/{path.name}.pth"  # in the child process: threads do not fork
        self.answer = path.read_bytes()
        folder = self.folder / f"out_{path.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        out = folder / "weights.pth"
        if len(self.answer) % 2:  # an earlier download was cut
            (folder / "weights.pth.part").write_bytes(self.body[:100])
            (folder / "weights.pth.part.version").write_text('"abc"')
        try:
            download(url, out, waits=(), timeout=1)
        except InputError:
            assert not out.exists(), "a file that was refused is there"
            raise
        finally:
            found = out.read_bytes() if out.exists() else None
            shutil.rmtree(folder)
        # A server may send another file, but if it is the body that it had, it came whole.
        assert found is not None
        return found == self.body


TARGETS: dict[str, Callable[[Path], Target]] = {
    "coco": Coco,
    "label-maps": LabelMaps,
    "images": Images,
    "checkpoints": Checkpoints,
    "whole-checkpoints": WholeCheckpoints,
    "carried-configs": CarriedConfigs,
    "predictions": Predictions,
    "downloads": Downloads,
}
