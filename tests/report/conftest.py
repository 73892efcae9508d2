"""Tiny runs to report on, of the three tasks, and a browser."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from selenium import webdriver

from lsnet_mm.report.curves import History, Run
from lsnet_mm.report.published import CURVES
from tests.conftest import ROOT
from tests.engine.test_run import arguments, forget_visualizers, run_train
from tests.report.browser import open_browser

NASTY = "<script>alert('class')</script>"  # a class
NASTY_FILE = "<img src=x onerror=alert(1)>.jpg"  # an image

CLASSIFIER = """
_base_ = {base!r}
arch = dict(_delete_=True, channels=(16, 16, 32, 32), depths=(0, 1, 2, 2))
model = dict(backbone=dict(arch=arch), head=dict(in_channels=32))
train_cfg = dict(max_epochs=1)
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
val_dataloader = test_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
default_hooks = dict(logger=dict(interval=1))
"""


def report_arguments(work_dir: Path, *options: str, **others) -> Namespace:
    """What ``tools/report.py`` makes of its command line."""
    given = dict(work_dir=str(work_dir), cfg_options=list(options) or None, trust_checkpoint=False)
    unset = ("out", "predictions", "checkpoint", "no_predictions", "max_images")
    forget_visualizers()
    return Namespace(**{**dict.fromkeys(unset), **given, **others})


def run_of(epochs: int, ap: float = 0.0, loss: float = 1.0) -> History:
    """A run of so many epochs of 100 iterations, off the published one by points and a factor."""
    published = CURVES["retinanet_lsnet_t_coco"]
    losses = {100 * e: loss * published.epoch_losses[e] for e in range(1, epochs + 1)}
    return History(
        runs=[Run("", 100, 100 * epochs, 0)],
        by_epoch=True,
        epoch_length=100,
        train={"loss": losses},
        epochs={100 * e: e for e in range(1, epochs + 1)},
        metrics={"box AP": {e: published.metrics["box AP"][e] + ap for e in range(1, epochs + 1)}},
    )


@pytest.fixture(scope="session")
def detection_run(shapes, tmp_path_factory) -> Path:
    """Two epochs of a tiny RetinaNet, of a class and on an image with markup in their names."""
    folder = tmp_path_factory.mktemp("detection")
    data = Path(shutil.copytree(shapes, folder / "data"))
    for split in ("train2017", "val2017"):
        _spoil_names(data, split)
    config = folder / "tiny_detector.py"
    base = str(ROOT / "tests/configs/tiny_retinanet_shapes.py")
    classes = [NASTY, "triangle", "rectangle", "star", "cross", "ring", "crescent"]
    config.write_text(
        f"_base_ = {base!r}\n"
        f"metainfo = dict(classes={classes!r})\n"
        + "".join(
            f"{split}_dataloader = dict(dataset=dict(metainfo=metainfo))\n"
            for split in ("train", "val", "test")
        )
        # What an untrained detector finds has small scores.
        + "model = dict(test_cfg=dict(score_thr=0.0))\n"
    )
    run_train(
        arguments(str(config), folder / "work", f"data_root={data}", "train_cfg.max_epochs=2")
    )
    return folder / "work"


def _spoil_names(data: Path, split: str) -> None:
    path = data / f"annotations/instances_{split}.json"
    content = json.loads(path.read_text())
    (ellipse,) = (entry for entry in content["categories"] if entry["name"] == "ellipse")
    ellipse["name"] = NASTY
    image = content["images"][0]
    (data / split / image["file_name"]).rename(data / split / NASTY_FILE)
    image["file_name"] = NASTY_FILE
    path.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def segmentation_run(shapes_as_ade20k, tmp_path_factory) -> Path:
    """Two iterations of a tiny Semantic FPN."""
    work_dir = tmp_path_factory.mktemp("segmentation") / "work"
    config = str(ROOT / "tests/configs/tiny_fpn_shapes.py")
    run_train(arguments(config, work_dir, f"data_root={shapes_as_ade20k}"))
    return work_dir


@pytest.fixture(scope="session")
def classification_run(shapes_by_class, tmp_path_factory) -> Path:
    """An epoch of a tiny LSNet."""
    folder = tmp_path_factory.mktemp("classification")
    config = folder / "tiny_classifier.py"
    config.write_text(CLASSIFIER.format(base=str(ROOT / "configs/lsnet_t_shapes.py")))
    run_train(arguments(str(config), folder / "work", f"data_root={shapes_by_class}"))
    return folder / "work"


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> webdriver.Chrome:
    """Headless Chromium."""
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
