"""The comparison with mmcv's compiled ops, between stand-ins: one may be made wrong."""

from importlib import import_module

import mmcv._ext
import pytest
import torch

from lsnet_mm.benchmark import mmcv_ops
from lsnet_mm.benchmark.mmcv_ops import Case
from lsnet_mm.errors import InputError

FEATURES = torch.rand(1, 2, 8, 8).requires_grad_()
ROIS = torch.tensor([[0.0, 1, 2, 40, 50], [0, 10, 0, 30, 20]])
BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
ROI_ALIGN = Case("roi_align", "roi_align", (FEATURES, ROIS), (2, 0.125, 2, "avg", True))
NMS = Case("nms", "nms", (BOXES, torch.tensor([0.5, 0.9, 0.8])), (0.5,))


def compare(case: Case, **wrong) -> list[dict]:
    """Rows for a case whose "compiled" op has other functions in places."""
    extensions = {"compiled": mmcv_ops.stand_in(), "stand_in": mmcv_ops.stand_in()}
    vars(extensions["compiled"]).update(wrong)
    return list(mmcv_ops.rows("op", case, extensions, repeats=2))


def test_same_ops_do_not_differ():
    rows = compare(ROI_ALIGN) + compare(NMS)
    assert [row["direction"] for row in rows] == ["forward", "backward", "forward"]
    for row in rows:
        assert row["difference"] == 0
        assert row["speedup"] == pytest.approx(row["compiled_ms"] / row["stand_in_ms"])
    assert import_module("mmcv.ops.roi_align").ext_module is mmcv._ext  # given back


def test_other_results_are_told():
    def doubled(*args, **kwargs):
        stand_in.roi_align_backward(*args, **kwargs)
        args[4].mul_(2)

    stand_in = mmcv_ops.stand_in()
    forward, backward = compare(ROI_ALIGN, roi_align_backward=doubled)
    assert forward["difference"] == 0
    assert backward["difference"] == pytest.approx(0.5)
    (row,) = compare(NMS, nms=lambda *args, **kwargs: torch.arange(3))
    assert row["difference"] == float("inf")


def test_every_case_is_an_op_of_the_stand_in():
    """Its inputs are made, and its module and function are there; running all takes a while."""
    cases = mmcv_ops.cases()
    for case in cases.values():
        module = import_module(f"mmcv.ops.{case.module}")
        assert callable(getattr(module, case.function))
        assert module.ext_module is mmcv._ext
    assert {"nms", "RoIAlign", "ModulatedDeformConv2d"} <= set(cases)


def test_needs_a_compiled_mmcv(monkeypatch):
    monkeypatch.setattr(mmcv, "_ext", mmcv_ops.stand_in())
    with pytest.raises(InputError, match="mmcv here has none"):
        mmcv_ops.compare(2)
