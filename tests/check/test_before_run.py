"""What training checks of annotations before it starts: what stops it, and what it is warned of."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from lsnet_mm.check.before_run import check_annotations
from lsnet_mm.engine.run import load_config
from lsnet_mm.errors import InputError
from tests.check.test_classification import data as class_folders  # noqa: F401  a fixture
from tests.check.test_run import SHAPES
from tests.engine.test_run import arguments

LOADERS = ("train_dataloader", "val_dataloader")


def shapes_config(data: Path, *options: str) -> Config:
    return load_config(arguments(SHAPES, data, f"data_root={data}/", *options))


def test_healthy_sets_pass_without_a_word(data, shapes_as_ade20k):
    assert check_annotations(shapes_config(data), LOADERS) == []
    config = SHAPES.replace("retinanet", "fpn")
    cfg = load_config(arguments(config, data, f"data_root={shapes_as_ade20k}/"))
    assert check_annotations(cfg, LOADERS) == []


def test_objects_that_are_left_out_are_told(data):
    """mmdet drops them without a word."""
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    changes = {
        "objects without extent, dropped on loading": dict(bbox=[0, 0, 0, 9]),
        "boxes of negative size": dict(bbox=[9, 9, -3, 9]),
        "annotations of unknown categories": dict(category_id=99),
        "boxes outside the image": dict(bbox=[150, 100, 60, 60]),
        "annotations of unknown images": dict(image_id=1234),
    }
    for entry, change in zip(content["annotations"], changes.values(), strict=False):
        entry.update(change)
    path.write_text(json.dumps(content))
    lines = check_annotations(shapes_config(data), LOADERS)
    assert {line for line in lines if line[0] != " "} == {
        f"warning: {kind} (1)" for kind in changes
    }
    assert any("annotation 3 of" in line and "category 99" in line for line in lines)


def test_few_problems_are_shown_of_many(data):
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        entry["bbox"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        check_annotations(shapes_config(data), LOADERS)
    lines = str(raised.value).splitlines()
    assert len(lines) == 8  # a heading, five, the number of the others, and what to do
    assert lines[-2] == f"  and {len(content['annotations']) - 5} more"
    assert check_annotations(shapes_config(data), LOADERS[1:]) == []  # val's are sound


def test_loaders_that_are_not_known_here_pass(data):
    config = Config(dict(train_dataloader=dict(dataset=dict(type="NotRegistered"))))
    assert check_annotations(config, LOADERS) == []
    unset = shapes_config(data, "train_dataloader=None")
    assert check_annotations(unset, LOADERS) == []


def test_class_folders(class_folders):  # noqa: F811
    cfg = Config.fromfile(class_folders / "config.py")
    assert check_annotations(cfg, LOADERS) == []
    for i in range(3):
        (class_folders / f"train/e/{i}.JPEG").unlink(missing_ok=True)
    (warning, found) = check_annotations(cfg, LOADERS)
    assert warning == "warning: classes without images (1)"
    assert found.endswith("eel (label 2)")
    (class_folders / "val/e").rename(class_folders / "val/f")
    with pytest.raises(InputError, match="only val has f: labels would be wrong"):
        check_annotations(cfg, LOADERS)
