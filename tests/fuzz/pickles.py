"""Readers of checkpoints, of configs in them, and of predictions."""

import argparse
import contextlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from lsnet_mm.deploy.tool import load_model
from lsnet_mm.errors import InputError
from lsnet_mm.inference import Predictor
from lsnet_mm.loading import check_checkpoint
from lsnet_mm.models import LSNet
from lsnet_mm.models.pretrained import load_pretrained
from lsnet_mm.report.predictions import read_predictions
from tests.conftest import ROOT

from .change import change_bytes, change_text, change_tree, change_zip, odd_value
from .engine import Target

CLASSES = ("cat", "dog", "eel")
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
        self.model = build(self.cfg)
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


def build(cfg: Config) -> torch.nn.Module:
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
