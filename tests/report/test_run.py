"""Reports of real, tiny runs: what they need, what may be missing, what is refused."""

import pickle
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lsnet_mm.errors import InputError
from lsnet_mm.report import report
from lsnet_mm.report.curves import run_folders
from lsnet_mm.report.predictions import find_checkpoint
from tests.conftest import ROOT
from tests.engine.test_run import arguments, run_test, run_train
from tests.report.conftest import report_arguments


@pytest.fixture(scope="module")
def dumped(segmentation_run, shapes_as_ade20k, tmp_path_factory) -> tuple[Path, float]:
    """Predictions that tools/test.py wrote, and the mIoU that it found."""
    folder = tmp_path_factory.mktemp("dumped")
    args = arguments(
        str(segmentation_run / "tiny_fpn_shapes.py"),
        folder,
        f"data_root={shapes_as_ade20k}",
        checkpoint=str(segmentation_run / "iter_2.pth"),
        out=str(folder / "out.pkl"),
    )
    return folder / "out.pkl", run_test(args)["mIoU"]


def test_predictions_of_a_file_give_the_result_of_the_test(dumped, segmentation_run, tmp_path):
    path, miou = dumped
    args = report_arguments(segmentation_run, predictions=str(path), out=str(tmp_path / "a.html"))
    assert report(args) == tmp_path / "a.html"
    page = (tmp_path / "a.html").read_text()
    shown = re.search(r"overall\nmIoU ([\d.]+), mAcc", page)
    assert float(shown[1]) == pytest.approx(miou, abs=0.06)  # both are rounded
    assert f"Predictions: {path}. 6 images" in page
    assert not (segmentation_run / "report.html").exists()


def test_the_newest_checkpoint_predicts_some_images(segmentation_run, tmp_path):
    page = report(
        report_arguments(segmentation_run, max_images=2, out=str(tmp_path / "a.html"))
    ).read_text()
    assert f"Predictions: {segmentation_run / 'iter_2.pth'}. 2 images" in page
    assert "The 2 worst of 2 images" in page
    assert page.count("data:image/jpeg") == 4


def test_a_resumed_run_is_one_curve(detection_run, tmp_path):
    work_dir = Path(shutil.copytree(detection_run, tmp_path / "work"))
    (config,) = work_dir.glob("*.py")
    data = Config.fromfile(config).data_root
    options = (f"data_root={data}", "train_cfg.max_epochs=3")
    run_train(arguments(str(config), work_dir, *options, resume="auto"))
    page = report(report_arguments(work_dir, no_predictions=True)).read_text()
    runs = [folder.name for folder in run_folders(work_dir)]
    assert len(runs) == 2
    assert all(f"<tr><th>{run}</th>" in page for run in runs)
    assert "<dt>epoch</dt><dd><b>3</b>" in page
    assert "Predictions were left out (--no-predictions)." in page
    assert "max_epochs=3" in page  # the config is the last run's


def test_a_test_alone_makes_a_page(segmentation_run, shapes_as_ade20k, tmp_path):
    args = arguments(
        str(segmentation_run / "tiny_fpn_shapes.py"),
        tmp_path,
        f"data_root={shapes_as_ade20k}",
        checkpoint=str(segmentation_run / "iter_2.pth"),
    )
    miou = run_test(args)["mIoU"]
    page = report(report_arguments(tmp_path)).read_text()
    assert f"Predictions: {segmentation_run / 'iter_2.pth'}." in page
    assert "There are no curves" in page
    assert f"<dt>mIoU, test</dt><dd><b>{miou:.1f}</b>" in page
    assert "python tools/test.py " in page


@pytest.mark.parametrize("missing", ["data", "checkpoint"])
def test_what_is_missing_is_named_on_the_page(missing, detection_run, tmp_path):
    work_dir, options = detection_run, ("data_root=nowhere",)
    problem = "data not found:\n  test_dataloader: nowhere/"
    if missing == "checkpoint":
        work_dir = Path(shutil.copytree(detection_run, tmp_path / "work"))
        for path in work_dir.glob("*.pth"):
            path.unlink()
        options = ()
        problem = f"there is no checkpoint in {work_dir}; name one: --checkpoint FILE"
    page = report(report_arguments(work_dir, *options, out=str(tmp_path / "a.html"))).read_text()
    assert f"There are no predictions: {problem}" in page
    assert "box AP, validation" in page


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("test_dataloader=None", "the config sets no test_dataloader"),
        ("test_dataloader.dataset.img_suffix=.bmp", "a data set has no images to use ("),
        ("test_dataloader.dataset.colour=red", "the test set cannot be built: "),
        ("default_scope=mmocr", "default_scope must be one of mmdet, "),
    ],
)
def test_a_config_without_a_test_set_leaves_the_curves(option, problem, segmentation_run, tmp_path):
    args = report_arguments(segmentation_run, option, out=str(tmp_path / "a.html"))
    page = report(args).read_text()
    assert f"There are no predictions: {problem}" in page
    assert "Training loss" in page


def test_a_damaged_image_is_named(dumped, shapes_as_ade20k, segmentation_run, tmp_path):
    data = Path(shutil.copytree(shapes_as_ade20k, tmp_path / "data"))
    image = sorted((data / "images/validation").iterdir())[0]
    image.write_bytes(b"no image")
    options = (f"data_root={data}",)
    args = report_arguments(segmentation_run, *options, predictions=str(dumped[0]))
    with pytest.raises(InputError, match=rf"{image.name}: is not an image"):
        report(args)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(checkpoint="none.pth"), "checkpoint not found: none.pth"),
        (dict(predictions="none.pkl"), "predictions not found: none.pkl"),
        (dict(predictions="a.pkl", max_images=1), "--max-images does not go with --predictions"),
        (dict(work_dir="none"), "work folder not found: none"),
        (dict(work_dir=str(ROOT / "tests")), "there is no run in "),
    ],
)
def test_what_is_named_must_be_there(given, message, segmentation_run):
    args = report_arguments(segmentation_run)
    vars(args).update(given)
    with pytest.raises(InputError) as raised:
        report(args)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: b"", "cannot be read as predictions of tools/test.py --out: EOFError"),
        (lambda found: b"<html>", "cannot be read as predictions of tools/test.py --out: "),
        (lambda found: pickle.dumps(dict(a=1)), "holds no list of predictions"),
        (lambda found: pickle.dumps(found[:5]), "holds 5 predictions, but the config's test set"),
        (
            lambda found: pickle.dumps([{"pred_score": torch.zeros(3)}] * 6),
            "holds no predictions of segmentation: pred_sem_seg is missing",
        ),
        (lambda found: pickle.dumps(found[::-1]), "is of another data set: image 0 is "),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    change, message, dumped, segmentation_run, tmp_path
):
    path = tmp_path / "changed.pkl"
    path.write_bytes(change(pickle.loads(dumped[0].read_bytes())))
    with pytest.raises(InputError) as raised:
        report(report_arguments(segmentation_run, predictions=str(path)))
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert not (segmentation_run / "report.html").exists()


def test_checkpoint_is_the_best_or_the_last(tmp_path):
    cfg = Config(dict(load_from=str(tmp_path / "tested.pth")))
    with pytest.raises(InputError, match="there is no checkpoint in"):
        find_checkpoint(tmp_path, cfg)
    for name in ("tested.pth", "work/epoch_2.pth", "work/epoch_1.pth", "work/best_mIoU_1.pth"):
        if name == "work/epoch_1.pth":
            pointer = tmp_path / "work/last_checkpoint"
            pointer.write_text("/where/it/was/trained/epoch_2.pth\n")
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / name).touch()
        expected = "work/epoch_2.pth" if name == "work/epoch_1.pth" else name
        assert find_checkpoint(tmp_path / "work", cfg) == str(tmp_path / expected)


def test_the_tool_prints_the_path(classification_run, tmp_path):
    command = [sys.executable, "tools/report.py", str(classification_run), "--no-predictions"]
    command += ["--out", str(tmp_path / "new/a.html")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"Report: {tmp_path / 'new/a.html'}"
    assert (tmp_path / "new/a.html").is_file()


def test_the_tool_tells_of_errors(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setattr(sys, "argv", ["report.py", "none"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "tools/report.py"), run_name="__main__")
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: work folder not found: none\n"


def test_an_image_that_is_damaged_is_named(segmentation_run, shapes_as_ade20k, tmp_path):
    data = Path(shutil.copytree(shapes_as_ade20k, tmp_path / "data"))
    path = min((data / "images/validation").iterdir())
    path.write_bytes(path.read_bytes()[:-500])
    out = tmp_path / "a.html"
    page = report(report_arguments(segmentation_run, f"data_root={data}", out=str(out))).read_text()
    assert f"There are no predictions: {path}: image file is truncated" in page
    weights = str(segmentation_run / "iter_2.pth")
    with pytest.raises(InputError, match="image file is truncated"):
        report(report_arguments(segmentation_run, f"data_root={data}", checkpoint=weights))
