import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.dataset import Compose
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from lsnet_mm.datasets import coco_writer
from lsnet_mm.datasets.coco_writer import (
    COCO_NAMES,
    MAX_POLYGON_BOX_ERROR,
    MIN_POLYGON_IOU,
    annotate,
    coco_categories,
    encode_rle,
    write_coco,
)
from lsnet_mm.datasets.shapes import CLASSES, PALETTE, make_scene
from tests.datasets.test_make_shapes import SMALL, hashes
from tests.datasets.test_shapes import SCENE_ARGUMENTS, SIZE

COUNTS = {"train": 100, "val": 16}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("shapes")
    write_coco(out_dir, COUNTS, SIZE, seed=0)
    return out_dir


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(SIZE, 0, "train", index) for index in range(COUNTS["train"])]


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("coco")
    write_coco(out_dir, {"train": 40, "val": 4}, SIZE, seed=0, coco_classes=True)
    return out_dir


def load(out_dir, split="train"):
    return json.loads((out_dir / "annotations" / f"instances_{split}2017.json").read_text())


def decode(segmentation, shape):
    rle = coco_mask.frPyObjects(segmentation, *shape)
    return coco_mask.decode(coco_mask.merge(rle) if isinstance(rle, list) else rle).astype(bool)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def box_error(a, b):
    """The largest distance between two masks' boxes' sides."""
    boxes = np.array([tight_box(a), tight_box(b)])
    boxes[:, 2:] += boxes[:, :2]
    return np.abs(boxes[0] - boxes[1]).max()


def tight_box(mask):
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]


# Encodings

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any)


@settings(max_examples=300, deadline=None)
@given(masks)
def test_any_mask_is_encoded_exactly_as_rle_and_closely_as_polygons(mask):
    rle = encode_rle(mask)
    assert json.loads(json.dumps(rle)) == rle
    assert (decode(rle, mask.shape) == mask).all()
    around = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    holes = cv2.connectedComponents(around, connectivity=4)[0] - 2
    polygons = coco_writer.encode_polygons(mask)
    assert bool(polygons) == (holes == 0)
    if polygons:
        assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)
        drawn = decode(polygons, mask.shape)
        assert iou(drawn, mask) >= MIN_POLYGON_IOU
        assert box_error(drawn, mask) <= MAX_POLYGON_BOX_ERROR
        exact = coco_writer._polygons(coco_writer._outlines(mask), 0)
        assert (decode(exact, mask.shape) == mask).all()


@settings(max_examples=60, deadline=None)
@given(**SCENE_ARGUMENTS)
def test_any_scenes_annotations_are_sound(size, seed, split, index):
    for item in make_scene(size, seed, split, index).objects:
        annotation = annotate(item)
        assert annotation["area"] == item.mask.sum()
        assert annotation["bbox"] == tight_box(item.mask)
        drawn = decode(annotation["segmentation"], item.mask.shape)
        if isinstance(annotation["segmentation"], dict):
            assert (drawn == item.mask).all()
        else:
            assert iou(drawn, item.mask) >= MIN_POLYGON_IOU
            assert box_error(drawn, item.mask) <= MAX_POLYGON_BOX_ERROR


# The folder


def test_files_and_images_are_those_of_the_scenes(folder, scenes):
    for split, count in COUNTS.items():
        content = load(folder, split)
        names = [f"{i:012d}.jpg" for i in range(1, count + 1)]
        assert [image["file_name"] for image in content["images"]] == names
        assert sorted(path.name for path in (folder / f"{split}2017").iterdir()) == names
        assert [image["id"] for image in content["images"]] == list(range(1, count + 1))
    for image, scene in zip(load(folder)["images"], scenes, strict=True):
        pixels = cv2.imread(str(folder / "train2017" / image["file_name"]))[..., ::-1]
        assert (image["height"], image["width"]) == pixels.shape[:2]
        assert np.abs(pixels.astype(int) - scene.image).mean() < 8


def test_annotations_decode_to_the_scenes_masks(folder, scenes):
    coco = COCO(folder / "annotations/instances_train2017.json")
    forms = []
    for index, scene in enumerate(scenes):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        assert len(annotations) == len(scene.objects)
        for annotation, item in zip(annotations, scene.objects, strict=True):
            mask = coco.annToMask(annotation).astype(bool)
            exact = isinstance(annotation["segmentation"], dict)
            forms.append((exact, item.crowd))
            assert annotation["iscrowd"] == item.crowd <= exact
            assert coco.cats[annotation["category_id"]]["name"] == CLASSES[item.label]
            assert annotation["area"] == item.mask.sum()
            assert annotation["bbox"] == tight_box(item.mask)
            assert iou(mask, item.mask) >= (1 if exact else MIN_POLYGON_IOU)
            assert box_error(mask, item.mask) <= (0 if exact else MAX_POLYGON_BOX_ERROR)
    assert set(forms) == {(True, True), (True, False), (False, False)}
    assert np.mean([not exact for exact, _ in forms]) > 0.7


def test_equal_arguments_give_equal_bytes(folder, tmp_path):
    write_coco(tmp_path, COUNTS, SIZE, seed=0)
    assert hashes(tmp_path) == hashes(folder)


def test_splits_and_counts_do_not_depend_on_each_other(folder, tmp_path):
    write_coco(tmp_path, {"train": 7, "val": COUNTS["val"]}, SIZE, seed=0)
    before, after = hashes(folder), hashes(tmp_path)
    val = {name for name in before if "val2017" in name}
    assert len(val) == COUNTS["val"] + 1
    assert {name: after[name] for name in val} == {name: before[name] for name in val}
    train = {name for name in after if name.startswith("train2017")}
    assert {name: after[name] for name in train} == {name: before[name] for name in train}
    assert load(folder)["annotations"][:3] == load(tmp_path)["annotations"][:3]


def test_seeds_and_splits_differ(folder, tmp_path):
    write_coco(tmp_path, SMALL, SIZE, seed=1)
    images = {digest for name, digest in hashes(folder).items() if name.endswith(".jpg")}
    others = {digest for name, digest in hashes(tmp_path).items() if name.endswith(".jpg")}
    assert len(images) == sum(COUNTS.values())
    assert len(others) == sum(SMALL.values())
    assert not images & others


def test_coco_classes(coco_folder, folder):
    plain, content = load(folder), load(coco_folder)
    ids = {category["name"]: category["id"] for category in content["categories"]}
    assert tuple(ids) == CocoDataset.METAINFO["classes"]
    known = {"person": 1, "fire hydrant": 11, "stop sign": 13, "backpack": 27, "wine glass": 46}
    known |= {"dining table": 67, "toilet": 70, "tv": 72, "book": 84, "toothbrush": 90}
    assert {name: ids[name] for name in known} == known
    assert all(category["supercategory"] for category in content["categories"])
    names = {category["id"]: category["name"] for category in plain["categories"]}
    assert list(names.items()) == list(enumerate(CLASSES, start=1))
    for before, after in zip(plain["annotations"], content["annotations"], strict=False):
        assert after == before | {"category_id": ids[COCO_NAMES[names[before["category_id"]]]]}
    assert len(coco_categories()) == 80


@pytest.mark.parametrize("coco_classes", [False, True])
def test_mmdet_loads_it_unmodified(folder, coco_folder, coco_classes):
    out_dir = coco_folder if coco_classes else folder
    metainfo = {} if coco_classes else {"metainfo": {"classes": CLASSES, "palette": PALETTE}}
    dataset = CocoDataset(
        data_root=str(out_dir),
        ann_file="annotations/instances_train2017.json",
        data_prefix={"img": "train2017/"},
        filter_cfg={"filter_empty_gt": True, "min_size": 32},
        pipeline=[],
        **metainfo,
    )
    content = load(out_dir)
    by_image = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    filled = [image for image, annotations in by_image.items() if annotations]
    assert 0 < len(filled) < len(by_image)
    assert [entry["img_id"] for entry in dataset] == filled
    category_names = {category["id"]: category["name"] for category in content["categories"]}
    pipeline = Compose([LoadAnnotations(with_bbox=True, with_mask=True)])
    for entry in dataset:
        assert Path(entry["img_path"]).exists()
        found = pipeline(entry | {"ori_shape": SIZE[::-1]})
        annotations = by_image[entry["img_id"]]
        assert found["gt_ignore_flags"].tolist() == [a["iscrowd"] == 1 for a in annotations]
        assert [dataset.metainfo["classes"][label] for label in found["gt_bboxes_labels"]] == [
            category_names[a["category_id"]] for a in annotations
        ]
        areas = found["gt_masks"].areas / [a["area"] for a in annotations]
        assert np.abs(areas - 1).max() < 0.06
