"""tools/infer.py: pictures, videos, records; what cannot be read; what cannot be used."""

import csv
import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lsnet_mm.errors import InputError
from lsnet_mm.inference import run
from lsnet_mm.inference.run import infer
from tests.conftest import ROOT, exports


def arguments(folder: Path, *inputs, **others) -> Namespace:
    """What ``tools/infer.py`` makes of its command line."""
    usual = dict(
        model="",
        inputs=[str(path) for path in inputs],
        checkpoint=None,
        out_dir=str(folder / "out"),
        json=None,
        csv=None,
        score_thr=0.3,
        batch_size=1,
        device=None,
        cfg_options=None,
        trust_checkpoint=False,
    )
    return Namespace(**{**usual, **others})


@pytest.fixture
def opened(monkeypatch):
    """Use the session's predictors, as opening one takes seconds."""

    def use(predictor):
        monkeypatch.setattr(run, "Predictor", lambda *_: predictor)

    return use


def test_detections_of_a_folder_are_scored_by_pycocotools(networks, shapes, tmp_path, opened):
    predictor = networks("det").predictor()
    opened(predictor)
    file = tmp_path / "found.json"
    args = arguments(tmp_path, shapes / "val2017", json=str(file), batch_size=4)
    assert infer(args) == 0
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 6
    truth = COCO(shapes / "annotations/instances_val2017.json")
    evaluation = COCOeval(truth, truth.loadRes(str(file)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert np.isfinite(evaluation.stats[0])
    entries = json.loads(file.read_text())
    assert {entry["image_id"] for entry in entries} == set(truth.imgs)
    first = truth.imgs[1]["file_name"]
    found = [entry for entry in entries if entry["file_name"] == first]
    wanted = predictor(shapes / "val2017" / first)
    np.testing.assert_allclose([e["score"] for e in found], wanted.scores, atol=1e-5)
    left_top = [e["bbox"][:2] for e in found]
    np.testing.assert_allclose(left_top, wanted.boxes[:, :2], atol=1e-3)
    assert [e["category_id"] for e in found] == [
        truth.getCatIds(predictor.classes[label])[0] for label in wanted.labels
    ]


@exports
def test_masks_are_scored_by_pycocotools(networks, shapes, tmp_path, opened):
    opened(networks("mask").predictor("onnx"))
    file = tmp_path / "found.json"
    infer(arguments(tmp_path, shapes / "val2017", json=str(file)))
    truth = COCO(shapes / "annotations/instances_val2017.json")
    evaluation = COCOeval(truth, truth.loadRes(str(file)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"].max() > -1


@exports
def test_label_maps_and_their_index(networks, images, tmp_path, opened):
    predictor = networks("seg").predictor("onnx")
    opened(predictor)
    infer(arguments(tmp_path, *images[:2], json=str(tmp_path / "index.json"), batch_size=2))
    entries = json.loads((tmp_path / "index.json").read_text())
    assert [entry["file_name"] for entry in entries] == [image.name for image in images[:2]]
    for entry, image in zip(entries, images, strict=False):
        labels = np.asarray(Image.open(tmp_path / "out" / entry["label_map"]))
        np.testing.assert_array_equal(labels, predictor(image).labels)
        assert sum(c["pixels"] for c in entry["classes"]) == labels.size
        assert Image.open(tmp_path / "out" / image.name).size == (160, 120)


def test_classes_as_a_table(networks, images, tmp_path, opened):
    predictor = networks("cls").predictor()
    opened(predictor)
    file = tmp_path / "new/top.csv"
    infer(arguments(tmp_path, *images[:3], csv=str(file), batch_size=2))
    rows = list(csv.DictReader(file.open()))
    assert list(rows[0]) == ["file_name", "rank", "label", "class", "score"]
    assert len(rows) == 15
    top = predictor(images[1]).top()
    assert [row["class"] for row in rows[5:10]] == [name for name, _ in top]
    assert float(rows[5]["score"]) == pytest.approx(top[0][1], abs=1e-5)


def test_a_video_comes_back_with_what_was_found(networks, images, tmp_path, opened):
    predictor = networks("det").predictor()
    opened(predictor)
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for image in images[:3]:
        writer.write(cv2.imread(str(image)))
    writer.release()
    file = tmp_path / "found.json"
    infer(arguments(tmp_path, path, json=str(file), batch_size=2, score_thr=0.0))
    video = cv2.VideoCapture(str(tmp_path / "out/walk.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 10
    frames = [video.read()[1] for _ in range(3)]
    assert not video.read()[0]
    given = list(run.Video(path))
    for frame, image in zip(frames, given, strict=True):
        drawn = np.asarray(predictor(image).draw(score_thr=0.0))[..., ::-1]
        assert np.abs(frame.astype(int) - drawn).mean() < 12  # but for compression
        assert np.abs(frame.astype(int) - image).mean() > 12
    assert {entry["frame"] for entry in json.loads(file.read_text())} == {0, 1, 2}


def test_the_tool_skips_what_cannot_be_read(networks, images, tmp_path):
    files = networks("cls")
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(images[0], folder / "good.jpg")
    (folder / "half.jpg").write_bytes(images[1].read_bytes()[:1500])
    (folder / "text.png").write_text("no image")
    Image.new("1", (1, 2**20 + 1)).save(folder / "tall.png")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    file = tmp_path / "top.json"
    inputs = [str(folder), str(tmp_path / "bad.mp4")]
    options = ["--out-dir", str(tmp_path / "out"), "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "tools/infer.py", files.checkpoint, *inputs, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    tall = "tall.png: OpenCV does not read 1x1048577 pixels"
    video = "bad.mp4: the video cannot be opened"
    for name in ("half.jpg", "text.png: is not an image", tall, video):
        assert f"{name}" in done.stderr
    assert "4 could not be read and were skipped" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.jpg"]
    wanted = files.predictor()(images[0]).top()
    assert [row["class"] for row in json.loads(file.read_text())] == [name for name, _ in wanted]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(inputs=["none.jpg"]), "none.jpg: no such file or folder"),
        (dict(model="none.py"), "none.py is a config: name its weights too"),
        (dict(model="none.py", checkpoint="x.pth"), "config not found: none.py"),
        (dict(model="none.onnx"), "exported file not found: none.onnx"),
        (dict(model="none.tflite"), "none.tflite: a model is a config"),
        (dict(model="none.onnx", checkpoint="x.pth"), "--checkpoint goes with a config"),
        (dict(model="none.onnx", device="cuda"), "exported files run on the CPU here"),
        (dict(model="none.pth"), "not found: none.pth"),
    ],
)
def test_arguments_that_cannot_be_used(change, message, images, tmp_path):
    args = arguments(tmp_path, images[0], **change)
    with pytest.raises((InputError, FileNotFoundError), match=message):
        infer(args)
    assert not (tmp_path / "out").exists()


def test_results_that_cannot_be_written(networks, images, tmp_path, opened):
    opened(networks("det").predictor())
    with pytest.raises(InputError, match="--csv is for classifiers"):
        infer(arguments(tmp_path, images[0], csv=str(tmp_path / "x.csv")))
    (tmp_path / "file").write_text("not a folder")
    for change in (dict(out_dir=str(tmp_path / "file/out")), dict(json=str(tmp_path))):
        with pytest.raises(InputError, match="results cannot be written"):
            infer(arguments(tmp_path, images[0], **change))
