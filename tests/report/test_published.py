"""The published curves against the README's tables and the recipes."""

import re

import pytest

from lsnet_mm.report.published import CURVES
from tests.configs.recipes import read
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def table_row(arch: str, table: str) -> list[float]:
    """The numbers of an architecture's row in the table that has a heading."""
    rows = README[README.index(table) :].splitlines()
    row = next(row for row in rows if row.startswith(f"| LSNet-{arch.upper()} |"))
    return [float(cell) for cell in row.split("|")[4:] if re.fullmatch(r" [\d.]+ ", cell)]


@pytest.mark.parametrize("arch", "tsb")
def test_curves_end_with_the_published_results(arch):
    coco, ade = table_row(arch, "RetinaNet AP"), table_row(arch, "| mIoU |")
    assert CURVES[f"retinanet_lsnet_{arch}_coco"].metrics["box AP"][12] == coco[0]
    assert CURVES[f"mask_rcnn_lsnet_{arch}_coco"].metrics["box AP"][12] == coco[3]
    assert CURVES[f"mask_rcnn_lsnet_{arch}_coco"].metrics["mask AP"][12] == coco[5]
    assert CURVES[f"fpn_lsnet_{arch}_ade20k"].metrics["mIoU"][40000] == ade[0]


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_of_the_recipes(name):
    cfg, published = read(name), CURVES[name]
    assert published.length in (cfg.train_cfg.get("max_epochs"), cfg.train_cfg.get("max_iters"))
    assert published.batch == cfg.auto_scale_lr.base_batch_size
    validated = range(cfg.train_cfg.val_interval, published.length + 1, cfg.train_cfg.val_interval)
    for curve in published.metrics.values():
        assert list(curve) == list(validated)
    if published.epoch_losses:
        assert list(published.epoch_losses) == list(validated)
    assert bool(published.note) == ("stable" in name)
