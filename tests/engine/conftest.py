"""Data to be damaged."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    """A copy of the Shapes set, to be damaged."""
    return Path(shutil.copytree(shapes, tmp_path / "data"))


@pytest.fixture
def label_maps(shapes_as_ade20k, tmp_path) -> Path:
    """A copy of the Shapes set with label maps, to be damaged."""
    return Path(shutil.copytree(shapes_as_ade20k, tmp_path / "maps"))
