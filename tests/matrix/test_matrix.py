"""The matrix: a dozen of its cases, of all kinds, and what its runner and page say of others."""

from dataclasses import replace

import pytest

from .cases import CASES, LIBRARIES, WAYS, Case
from .page import compose
from .run import Outcome, run_apart, user_config

BY_NAME = {(case.library, case.family): case for case in CASES}
FEW = [
    ("mmdet", "Faster R-CNN, PAFPN"),
    ("mmdet", "RetinaNet"),
    ("mmdet", "YOLOX"),
    ("mmdet", "DETR"),
    ("mmdet", "CondInst"),
    ("mmdet", "Mask2Former, panoptic"),
    ("mmseg", "PSPNet"),
    ("mmseg", "SegFormer"),
    ("mmseg", "UPerNet"),
    ("mmseg", "OCRNet"),
    ("mmpretrain", "Linear head"),
    ("mmpretrain", "Linear head, ConvNeXt"),
]


@pytest.mark.parametrize(("library", "family"), FEW)
def test_trains_and_predicts(library, family):
    outcome = run_apart(BY_NAME[library, family])
    assert outcome.error == ""
    assert outcome.trained
    assert outcome.predicted
    assert outcome.use_in == "same"


def test_there_is_one_case_of_each_name_and_enough_of_each_library():
    assert len(BY_NAME) == len(CASES)
    counts = [sum(case.library == library for case in CASES) for library in LIBRARIES]
    assert all(n >= least for n, least in zip(counts, (40, 20, 3), strict=True))
    assert {case.way for case in CASES} == set(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_users_config_has_five_lines_at_most(way):
    case = next(case for case in CASES if case.way == way)
    assert user_config(case).count("\n") <= 5


class Dies(Case):
    """A case whose process ends without a word."""

    @property
    def library(self) -> str:
        import os

        os._exit(3)


def test_a_case_that_ends_its_process_is_one_that_fails():
    case = BY_NAME["mmdet", "RetinaNet"]
    outcome = run_apart(Dies(*(getattr(case, name) for name in case.__dataclass_fields__)))
    assert outcome.error == "the process ended with status 3"
    assert not outcome.trained


def test_a_case_that_takes_too_long_is_one_that_fails():
    outcome = run_apart(BY_NAME["mmdet", "RetinaNet"], timeout=0.01)
    assert outcome.error == "takes longer than 0.01 s"
    assert not outcome.trained


def test_a_backbone_without_gradient_fails():
    case = BY_NAME["mmseg", "SegFormer"]
    frozen = replace(case, settings={"backbone.frozen_stages": 0})
    outcome = run_apart(frozen)
    assert not outcome.trained
    assert "gradient" in outcome.error


def test_page_names_what_failed_and_why():
    cases = [BY_NAME["mmdet", "RetinaNet"], BY_NAME["mmdet", "TridentNet"]]
    failed = Outcome(trained=True, use_in="use_in: cannot", error="KeyError: 'x'\nmore")
    results = [(cases[0], Outcome(True, True, "same")), (cases[1], failed)]
    page = compose(results)
    rows = {line.split(" | ")[0][2:]: line.split(" | ") for line in page.splitlines()}
    assert rows["RetinaNet"][4:8] == ["same", "yes", "yes", " |"]
    assert rows["TridentNet"][4:7] == ["by hand", "yes", "no"]
    assert rows["TridentNet"][7].endswith("`KeyError: 'x'` |")
    assert "1 of 2 configs train and predict" in page
    failed.original = "KeyError: 'x'"
    assert "so does the library's own config" in compose(results)
    failed.original = "ValueError: y"
    assert "the library's own config: `ValueError: y`" in compose(results)
    assert not any(f"{{{name}}}" in page for name in ("versions", "tables", "ways"))
