"""Configs for images in class folders."""

import shutil
from pathlib import Path

import pytest

from lsnet_mm.datasets.shapes import CLASSES
from tests.new_config.conftest import refused, write


def test_config_says_what_the_folder_holds(folders, capsys):
    cfg = write(folders, "classification", arch="s")
    assert list(cfg.metainfo.classes) == sorted(CLASSES)
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == 7
    assert cfg.model.backbone.init_cfg.checkpoint.endswith("/lsnet_s.pth")
    assert cfg.model.backbone.arch == "s"
    assert cfg.val_evaluator.topk == (1, 5)
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.train_dataloader.sampler == dict(type="DefaultSampler", shuffle=True)
    shown = capsys.readouterr().out
    assert "  16 images: width 160, height 120, aspect ratio 1.333\n" in shown
    assert "warning: classes without images (1)\n" in shown  # 6 validation images for 7 classes


def test_few_classes_have_no_top_five(folders):
    for split in ("train", "val"):
        for name in sorted(CLASSES)[:4]:
            shutil.rmtree(folders / split / name)
    cfg = write(folders, "classification")
    assert cfg.model.head.num_classes == 3
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == (1,)


def test_other_folders_are_found_or_named(folders):
    (folders / "val").rename(folders / "valid")
    assert write(folders, "classification").val_dataloader.dataset.data_prefix == "valid"
    (folders / "valid").rename(folders / "test")
    cfg = write(folders, "classification", val_img=Path("test"))
    assert cfg.val_dataloader.dataset.data_prefix == "test"


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def keep_one(folder: Path) -> None:
    """Leave one class with one image."""
    for split in ("train", "val"):
        first, *others = sorted((folder / split).iterdir())
        for path in others:
            shutil.rmtree(path)
        for path in sorted(first.iterdir())[1:]:
            path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "train").rename(d / "x"), "has no folder for training"),
        (lambda d: (d / "val").rename(d / "x"), "has no folder for validation"),
        (lambda d: empty(d / "train/star"), "classes without images (1)"),
        (lambda d: shutil.rmtree(d / "val/star"), "only one of them has star. An empty one"),
        (
            lambda d: (d / "val/star").rename(d / "val/a"),
            "only one of them has a, star. An empty one",
        ),
        (keep_one, "train has one image: training takes 2 or more"),
        (lambda d: min(d.glob("train/star/*")).write_bytes(b""), "files that do not decode (1)"),
        (
            lambda d: (shutil.rmtree(d / "train"), (d / "train").mkdir()),
            "has no class folders, as ",
        ),
    ],
)
def test_bad_data_is_refused(spoil, message, folders):
    spoil(folders)
    assert message in refused(folders, "classification")
