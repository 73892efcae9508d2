"""Configs for data sets in COCO's format."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.registry import init_default_scope

from lsnet_mm.datasets.shapes import CLASSES
from tests.new_config.conftest import refused, write


def change(data: Path, edit: Callable[[dict], object], split: str = "train") -> None:
    path = data / f"annotations/instances_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def reads(cfg, count: int, val_count: int) -> bool:
    """Tell whether the config's data sets hold so many images that are all there."""
    init_default_scope("mmdet")
    sets = [DATASETS.build(cfg[f"{split}_dataloader"].dataset) for split in ("train", "val")]
    paths = [info["img_path"] for dataset in sets for info in map(dataset.get_data_info, [0, -1])]
    return [*map(len, sets)] == [count, val_count] and all(Path(path).is_file() for path in paths)


def test_config_says_what_the_folder_holds(coco, capsys):
    change(coco, lambda c: c.update(annotations=[a for a in c["annotations"] if a["image_id"] > 2]))
    cfg = write(coco, "detection")
    assert tuple(cfg.metainfo.classes) == CLASSES
    assert len(set(map(tuple, cfg.metainfo.palette))) == len(CLASSES)
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    assert cfg.data_root == f"{coco}/"
    annotated = {a["image_id"] for a in json.loads(
        (coco / "annotations/instances_train2017.json").read_text()
    )["annotations"]}  # fmt: skip
    assert reads(cfg, len(annotated), 6)
    assert cfg.val_evaluator.ann_file == f"{coco}/annotations/instances_val2017.json"
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.train_cfg.max_epochs == 300
    shown = capsys.readouterr().out
    assert "  16 images: width 160, height 120, aspect ratio 1.333\n" in shown
    assert f" objects in {len(annotated)} of the images\n" in shown
    assert "warning" not in shown


def test_masks_have_their_heads(coco):
    cfg = write(coco, "instance")
    heads = cfg.model.roi_head
    assert heads.bbox_head.num_classes == heads.mask_head.num_classes == len(CLASSES)
    assert cfg.val_evaluator.metric == ["bbox", "segm"]
    assert cfg.default_hooks.checkpoint.save_best == "coco/segm_mAP"


def test_roboflows_layout_is_known(coco, capsys):
    """A file beside the images, and a category over all others that no object is of."""
    parent = {"id": 0, "name": "shapes", "supercategory": "none"}
    for split, name in (("train", "train"), ("val", "valid")):
        change(
            coco,
            lambda c: c.update(
                categories=[parent, *({**e, "supercategory": "shapes"} for e in c["categories"])]
            ),
            split,
        )
        folder = (coco / f"{split}2017").rename(coco / name)
        annotations = coco / f"annotations/instances_{split}2017.json"
        annotations.rename(folder / "_annotations.coco.json")
    cfg = write(coco, "detection")
    assert tuple(cfg.metainfo.classes) == CLASSES
    assert cfg.train_dataloader.dataset.ann_file == "train/_annotations.coco.json"
    assert cfg.val_dataloader.dataset.data_prefix.img == "valid/"
    assert reads(cfg, 16, 6)


def test_paths_can_be_named(coco, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (coco / "train2017").rename(elsewhere)
    (coco / "annotations").rename(coco / "boxes")
    for split in ("train", "val"):
        (coco / f"boxes/instances_{split}2017.json").rename(coco / f"boxes/{split[0]}.json")
    where = dict(train_ann=Path("boxes/t.json"), train_img=elsewhere, val_ann=coco / "boxes/v.json")
    cfg = write(coco, "detection", **where)
    assert cfg.train_dataloader.dataset.ann_file == "boxes/t.json"
    assert cfg.train_dataloader.dataset.data_prefix.img == f"{elsewhere}/"
    assert reads(cfg, 16, 6)


def test_images_in_subfolders_are_found(coco):
    (coco / "pictures").mkdir()
    for split in ("train", "val"):
        (coco / f"{split}2017").rename(coco / "pictures" / split)
        change(
            coco,
            lambda c, split=split: [
                e.update(file_name=f"{split}/{e['file_name']}") for e in c["images"]
            ],
            split,
        )
    cfg = write(coco, "detection")
    assert cfg.train_dataloader.dataset.data_prefix.img == "pictures/"
    assert reads(cfg, 16, 6)


def test_training_goes_without_validation_data(coco, capsys):
    (coco / "annotations/instances_val2017.json").unlink()
    cfg = write(coco, "detection")
    assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is None
    assert cfg.test_dataloader is cfg.test_cfg is cfg.test_evaluator is None
    assert "save_best" not in cfg.default_hooks.checkpoint
    assert "warning: there is no validation data: nothing will be meas" in capsys.readouterr().out


def test_what_may_be_a_problem_is_told(coco, capsys):
    def spoil(content: dict) -> None:
        content["categories"].append({"id": 99, "name": "spiral"})
        content["annotations"][0]["bbox"] = [150, 10, 30, 30]
        for entry in content["annotations"][1:6]:
            entry["bbox"][2:] = [2, 2]

    change(coco, spoil)
    change(coco, lambda c: c["categories"].append({"id": 99, "name": "spiral"}), "val")
    (coco / "train2017/000000000003.jpg").unlink()
    cfg = write(coco, "detection")
    assert cfg.metainfo.classes[-1] == "spiral"
    shown = capsys.readouterr().out
    assert "warning: classes without objects, which cannot be learnt: spiral\n" in shown
    assert "warning: boxes outside the image (1)\n" in shown
    missing = coco / "train2017/000000000003.jpg"
    assert f"warning: files that are missing (1)\n  {missing}: does not exist\n" in shown
    objects = len(json.loads((coco / "annotations/instances_train2017.json").read_text())[
        "annotations"
    ]) - 1  # fmt: skip
    assert f"warning: {500 / objects:.1f} % of the objects are tiny: under 16 pixels" in shown


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("categories"), "has no list of categories"),
        (lambda c: c["categories"][0].pop("id"), "'ellipse'} has no id"),
        (lambda c: c["categories"][0].pop("name"), "} has no name"),
        (lambda c: c["categories"].clear(), "has no categories"),
        (
            lambda c: c["categories"][1].update(name="ellipse"),
            "categories that share a name: ellipse",
        ),
        (lambda c: c["annotations"].clear(), "has no objects to train on"),
        (lambda c: c["annotations"][0].pop("category_id"), "lacks id, image_id, category_id"),
        (lambda c: c["annotations"][0].update(category_id=50), "annotations of unknown categories"),
        (lambda c: c["annotations"][0].update(bbox=[1]), "boxes that are not four finite numbers"),
        (lambda c: [e.update(file_name="x" + e["file_name"]) for e in c["images"]], "such as x0"),
    ],
)
def test_bad_annotations_are_refused(edit, message, coco):
    change(coco, edit)
    assert message in refused(coco, "detection")


def test_bad_files_and_folders_are_refused(coco):
    annotations = coco / "annotations/instances_train2017.json"
    message = refused(coco, "detection", train_ann=Path("none.json"))
    assert message == f"--train-ann: neither none.json nor {coco / 'none.json'} exists"
    (coco / "annotations/person_train.json").write_text("{}")  # set aside for instances_*
    (coco / "annotations/instances_train_2.json").write_text("{}")
    assert "several annotation files for train: " in refused(coco, "detection")
    named = dict(train_ann=annotations)
    assert "has no folder with the images" in refused(
        coco, "detection", **named, train_img=coco / "annotations"
    )
    annotations.write_text("{")
    assert "is not JSON" in refused(coco, "detection", **named)
    for path in (coco / "annotations").glob("*train*"):
        path.unlink()
    assert "no COCO annotation file for training" in refused(coco, "detection")


def test_validation_data_of_other_classes_is_refused(coco):
    change(coco, lambda c: c["categories"].reverse(), "val")
    assert "categories in another order than the classes" in refused(coco, "detection")


def test_objects_without_masks_are_refused_for_masks_only(coco):
    change(coco, lambda c: c["annotations"][0].pop("segmentation"))
    assert "objects without a mask (1)" in refused(coco, "instance")
    init_default_scope("mmdet")
    assert MODELS.build(write(coco, "detection").model.bbox_head).num_classes == len(CLASSES)
