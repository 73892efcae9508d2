"""The base configs, inherited from a folder far from the repository."""

import subprocess
import sys
from configparser import ConfigParser
from glob import glob
from pathlib import Path

import pytest
from mmengine.config import Config

from lsnet_mm import base, use_in
from lsnet_mm.errors import InputError
from tests.configs.recipes import CHANNELS, WEIGHTS
from tests.conftest import ROOT

SOLO = "mmdet::solov2/solov2_r50_fpn_1x_coco.py"
CONFIG = f"""\
_base_ = [{SOLO!r}, __import__("lsnet_mm").base("{{arch}}")]
model = dict(data_preprocessor=_base_.lsnet_pixels, backbone=_base_.lsnet, neck=_base_.lsnet_fpn)
"""


def test_names_the_repositorys_own_files():
    for arch in CHANNELS:
        assert Path(base(arch)).samefile(ROOT / f"configs/_base_/backbones/lsnet_{arch}.py")


def test_unknown_network():
    with pytest.raises(InputError, match="arch must be one of t, s, b, got 'm'"):
        base("m")


@pytest.mark.parametrize("arch", CHANNELS)
def test_config_is_as_by_use_in(arch, tmp_path):
    path = tmp_path / "user.py"
    path.write_text(CONFIG.format(arch=arch))
    cfg = Config.fromfile(path)
    assert cfg.model == use_in(SOLO, arch).model
    weights = dict(type="Pretrained", checkpoint=WEIGHTS.format(arch))
    assert cfg.model.backbone == dict(type="LSNet", arch=arch, init_cfg=weights)
    assert cfg.custom_imports.imports == ["lsnet_mm"]
    # All that the file offers is of one network.
    channels = CHANNELS[arch]
    assert cfg.lsnet_channels == cfg.lsnet_d8.in_channels == channels
    assert cfg.lsnet_pyramid.in_channels == cfg.lsnet_d8_aux.in_channels == channels[:3]
    # Written out, as runs do, it reads the same.
    cfg.dump(tmp_path / "dumped.py")
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model


def test_a_program_that_knows_nothing_of_us_reads_it(tmp_path):
    (tmp_path / "user.py").write_text(CONFIG.format(arch="t"))
    code = (
        "from mmengine.config import Config; from mmengine.registry import MODELS; "
        "cfg = Config.fromfile('user.py').model.backbone; cfg.init_cfg = None; "
        "print(type(MODELS.build(cfg)).__name__)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("LSNet")


def test_installing_takes_all_configs_along():
    """By the patterns of package data, from which setuptools makes the package."""
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    patterns = metadata["options.package_data"]["lsnet_mm"].split(",")
    package = ROOT / "lsnet_mm"
    taken = {
        path
        for pattern in patterns
        for path in glob(pattern.strip(), root_dir=package, recursive=True)
    }
    configs = [path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")]
    assert configs
    assert {f".mim/{path}" for path in configs} <= taken
    assert Path(base()).is_relative_to(package / ".mim")
