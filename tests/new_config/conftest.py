"""Configs written for data sets, read back."""

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

from lsnet_mm.errors import InputError
from lsnet_mm.new_config import write_config

OPTIONS = ("train_ann", "train_img", "val_ann", "val_img", "classes", "zero")


def arguments(data: Path, task: str, out: Path, **others: object) -> Namespace:
    options = dict.fromkeys(OPTIONS)
    common = dict(data=data, task=task, out=out, arch="t", init="imagenet", force=False)
    return Namespace(**{**common, **options, **others})


def write(data: Path, task: str, **others: object) -> Config:
    """Return the config that is written beside a data set."""
    path = write_config(arguments(data, task, data.parent / "own.py", force=True, **others))
    return Config.fromfile(path)


def refused(data: Path, task: str, **others: object) -> str:
    """Return what is said of data that no config is written for."""
    with pytest.raises(InputError) as raised:
        write(data, task, **others)
    assert not (data.parent / "own.py").exists()
    return str(raised.value)


@pytest.fixture
def coco(shapes, tmp_path) -> Path:
    """A copy of the Shapes set, to be changed."""
    return Path(shutil.copytree(shapes, tmp_path / "own_set"))


@pytest.fixture
def ade(shapes_as_ade20k, tmp_path) -> Path:
    """A copy of the Shapes set with label maps, to be changed."""
    return Path(shutil.copytree(shapes_as_ade20k, tmp_path / "own_set"))


@pytest.fixture
def folders(shapes_by_class, tmp_path) -> Path:
    """A copy of the Shapes set in class folders, to be changed."""
    return Path(shutil.copytree(shapes_by_class, tmp_path / "own_set"))
