"""What users of the tools see of data that cannot be used, and of unusual images that can."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from lsnet_mm.errors import InputError
from lsnet_mm.inference import Predictor
from lsnet_mm.report import report
from tests.conftest import ROOT
from tests.engine.bad_data import cut, picture, truncate, unusual, with_annotations, with_images
from tests.engine.test_run import (
    CLASSIFICATION,
    SHAPES,
    arguments,
    forget_visualizers,
    run_test,
    run_train,
    write_config,
)
from tests.report.conftest import report_arguments

SEGMENTATION = str(ROOT / "tests/configs/tiny_fpn_shapes.py")
SHORT = ("train_cfg.max_epochs=1", "train_dataloader.batch_size=4")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """Checkpoint of an untrained detector."""
    cfg = Config.fromfile(SHAPES)
    init_default_scope(cfg.default_scope)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    return str(path)


def train(data: Path, *options: str, config: str = SHAPES, **others) -> Path:
    """Train on a folder of data; return the work folder."""
    work_dir = data.parent / "work"
    run_train(arguments(config, work_dir, f"data_root={data}/", *options, **others))
    return work_dir


def evaluate(data: Path, checkpoint: str, *options: str) -> dict[str, float]:
    """Test on a folder of data; return the metrics."""
    options = (f"data_root={data}/", *options)
    return run_test(arguments(SHAPES, data.parent / "test", *options, checkpoint=checkpoint))


def remove_images(data: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(data / f"{split}2017")


CHECK = "tools/check_dataset.py lists"
DAMAGES = {
    "missing folder": (remove_images, ["data not found", "2017", "layouts in docs/datasets.md"]),
    "truncated JSON": (truncate, ["annotation files that cannot be read", "is not JSON", CHECK]),
    "JSON of another schema": (
        with_annotations(lambda content: content.pop("images")),
        ["annotation files that cannot be read", "has no list of images", CHECK],
    ),
    "categories in another order": (
        with_annotations(lambda content: content["categories"].reverse()),
        ["categories in another order than the classes", "labels would be wrong", CHECK],
    ),
    "box that is none": (
        with_annotations(lambda content: content["annotations"][0].update(bbox=[1, 2, None, 4])),
        ["boxes that are not four finite numbers", "annotation 1 of", CHECK],
    ),
    "annotation without a box": (
        with_annotations(lambda content: content["annotations"][0].pop("bbox")),
        ["incomplete annotations: ", "lacks id, image_id, category_id, bbox or area", CHECK],
    ),
    "no image": (
        with_images(lambda path: path.write_text("<html>")),
        [".jpg: is not an image. ", CHECK, "on_bad_image=skip"],
    ),
    "no images": (
        with_annotations(lambda content: content.update(images=[], annotations=[])),
        ["a data set has no images to use", "annotations/instances_"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_training_stops_at_damaged_data(name, data):
    damage, words = DAMAGES[name]
    damage(data)
    with pytest.raises(InputError) as raised:
        train(data, *SHORT)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("name", ["missing folder", "truncated JSON", "no images"])
def test_testing_stops_at_damaged_data(name, data, weights):
    damage, words = DAMAGES[name]
    damage(data)
    with pytest.raises(InputError) as raised:
        evaluate(data, weights)
    for word in words:
        assert word in str(raised.value)


def test_checkpoint_of_another_task_is_refused(data, tmp_path):
    cfg = Config.fromfile(SEGMENTATION)
    init_default_scope(cfg.default_scope)
    path = tmp_path / "segmentor.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    with pytest.raises(InputError, match=r"segmentor\.pth is not one of this RetinaNet: .*first: "):
        evaluate(data, str(path))


def test_worker_hands_on_a_bad_image_without_its_traceback(data, weights):
    cut(picture(data, 4, "val"))
    with pytest.raises(InputError) as raised:
        evaluate(data, weights, "test_dataloader.num_workers=1")
    assert str(raised.value).startswith(f"{picture(data, 4, 'val')}: ")
    assert "Traceback" not in str(raised.value)


def test_bad_label_map_stops_training(label_maps):
    for path in (label_maps / "annotations/training").glob("*.png"):
        assert cv2.imwrite(str(path), np.full((120, 160), 77, np.uint8))
    with pytest.raises(InputError, match="label maps with values out of range: 77 in 19200 pixels"):
        train(label_maps, config=SEGMENTATION)


def test_bad_images_are_replaced_and_listed(data):
    with_annotations(lambda content: content["annotations"][1].update(bbox=[9, 9, -3, 9]))(data)
    bad = [picture(data, number) for number in (2, 5)]
    for path in bad:
        cut(path)
    few = ("train_dataloader.dataset.indices=6", "val_dataloader.dataset.indices=2")
    options = ("on_bad_image=skip", "train_dataloader.dataset.filter_cfg=None", *few)
    work_dir = train(data, "train_cfg.max_epochs=2", "train_dataloader.num_workers=1", *options)
    log = next(work_dir.glob("*/*.log")).read_text()
    assert "warning: boxes of negative size (2)" in log  # one in each file
    assert "2 bad images, others took their place 4 times; see " in log
    for path in bad:
        assert f"  {path}: image file is truncated" in log
    lines = (work_dir / "bad_images.txt").read_text().splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == sorted(2 * list(map(str, bad)))
    assert (work_dir / "epoch_2.pth").exists()
    cut(picture(data, 1, "val"))
    with pytest.raises(InputError, match=r"000000000001\.jpg: image file is truncated"):
        train(data, "train_cfg.max_epochs=1", *options)  # on validation


def test_setting_for_bad_images_is_checked(data):
    with pytest.raises(InputError, match="on_bad_image must be 'stop' or 'skip', got 'ignore'"):
        train(data, "on_bad_image=ignore")


def test_too_few_images_for_a_batch(data):
    loader = dict(batch_size=256, drop_last=True, batch_sampler=None)
    options = [f"train_dataloader.{key}={value}" for key, value in loader.items()]
    with pytest.raises(InputError, match=r"do not fill one of 256.*train_dataloader.batch_size"):
        train(data, *options)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; return its exit status and error output."""

    def run(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.syspath_prepend(str(ROOT / "tools"))
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        return stop.value.code, capsys.readouterr().err

    return run


def test_tools_end_with_a_message_and_status_1(tool, data, weights, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")  # a process whose data others do not see
    path = picture(data, 1, "val")
    cut(path)
    forget_visualizers()
    options = ("--work-dir", str(data.parent / "work"), "--cfg-options", f"data_root={data}/")
    status, errors = tool("test.py", SHAPES, weights, *options)
    assert status == 1
    assert f"\nerror: {path}: image file is truncated" in f"\n{errors}"
    assert "Traceback" not in errors


# Unusual images: trained on, tested on, reported and predicted.

MIXED = {
    "det": """
_base_ = {base!r}
data_root = {root!r}
part = dict(data_root=data_root, ann_file="annotations.json", data_prefix=dict(img="images/a"))
train_dataloader = dict(batch_size=4, dataset=dict(**part, filter_cfg=None))
val_dataloader = test_dataloader = dict(dataset=part)
val_evaluator = test_evaluator = dict(ann_file=data_root + "annotations.json")
train_cfg = dict(max_epochs=1, val_interval=1)
model = dict(test_cfg=dict(score_thr=0.0))
""",
    "seg": """
_base_ = {base!r}
part = dict(data_root={root!r}, img_suffix=".png", pipeline=[
    dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"),
    dict(type="Resize", scale=(512, 128), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(64, 64)), dict(type="PackSegInputs")],
    data_prefix=dict(img_path="images/a", seg_map_path="labels"))
train_dataloader = dict(batch_size=4, dataset=part)
val_dataloader = test_dataloader = dict(dataset=dict(part, pipeline=[
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=(512, 128), keep_ratio=True),
    dict(type="LoadAnnotations"), dict(type="PackSegInputs")]))
""",
    "cls": CLASSIFICATION.replace(
        'dict(type="LoadImageFromFile")',
        'dict(type="LoadImageFromFile", imdecode_backend="pillow"), dict(type="Resize", scale=64)',
    ),
}


def write_mixed(task: str, folder: Path) -> str:
    """Write a config with its data: unusual images of two sizes, tiny and wide ones."""
    images = folder / "images" / "a"
    unusual(images, (40, 30))
    dot = (1, 2)[task == "seg"]  # mmseg cannot read label maps of a single pixel
    for name, size in {"dot.png": (dot, dot), "wide.png": (20000, 40)}.items():
        Image.new("RGB", size, "teal").save(images / name)
    if task != "det":  # one kind of suffix, or of files
        shutil.copy(images / "cmyk.jpg", images / "cmyk.png")
        (images / "cmyk.jpg").unlink()
    sizes = {p.name: cv2.imread(str(p)).shape[1::-1] for p in sorted(images.iterdir())}
    if task == "det":
        write_boxes(folder / "annotations.json", sizes)
        base = SHAPES
    elif task == "seg":
        (folder / "labels").mkdir()
        for name, (width, height) in sizes.items():
            Image.new("L", (width, height), 1).save(folder / "labels" / name)
        base = SEGMENTATION
    else:
        shutil.copytree(images, folder / "classes" / "a")
        shutil.copytree(images, folder / "classes" / "b")
        return write_config(folder, MIXED[task])
    path = folder / "config.py"
    path.write_text(MIXED[task].format(root=f"{folder}/", base=base))
    return str(path)


def write_boxes(path: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """Write annotations with a box that fills the image, for each image."""
    classes = Config.fromfile(SHAPES).metainfo.classes
    content = dict(categories=[dict(id=i, name=name) for i, name in enumerate(classes)])
    content["images"] = [
        dict(id=i, file_name=name, width=width, height=height)
        for i, (name, (width, height)) in enumerate(sizes.items())
    ]
    content["annotations"] = [
        dict(id=i, image_id=i, category_id=i % 7, bbox=[0, 0, w, h], area=w * h, iscrowd=0)
        for i, (w, h) in enumerate(sizes.values())
    ]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("task", ["det", "seg", "cls"])
def test_unusual_images_go_all_the_way(task, tmp_path):
    config = write_mixed(task, tmp_path)
    work_dir = tmp_path / "work"
    run_train(arguments(config, work_dir))
    page = report(report_arguments(work_dir)).read_text()
    assert "There are no predictions" not in page
    images = sorted((tmp_path / "images" / "a").iterdir())
    (checkpoint,) = work_dir.glob("*.pth")
    results = Predictor(config, checkpoint)(images)
    for path, result in zip(images, results, strict=True):
        result.draw(str(tmp_path / f"{path.name}.jpg"))
        if task == "seg":
            assert result.labels.shape == cv2.imread(str(path)).shape[:2]
