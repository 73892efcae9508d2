"""Each thing that can be wrong with COCO annotations, on a small Shapes set."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset
from PIL import Image
from pycocotools import mask as coco_mask

from lsnet_mm.check.coco import CocoContents, decode_mask
from lsnet_mm.check.coco_file import NO_EXTENT, _unpacked, read_annotations
from lsnet_mm.datasets.shapes import CLASSES
from tests.check.test_run import run_on

TRAIN_ONLY = ("val_dataloader=None", "test_dataloader=None")
MASKS = "train_dataloader.dataset.pipeline.1.with_mask=True"


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    """A copy of the Shapes set, to be damaged."""
    return Path(shutil.copytree(shapes, tmp_path / "data"))


def annotations(data: Path) -> Path:
    return data / "annotations/instances_train2017.json"


def edit(data: Path, change: Callable[[dict], object]) -> dict:
    content = json.loads(annotations(data).read_text())
    change(content)
    annotations(data).write_text(json.dumps(content))
    return content


def polygon_of(content: dict) -> dict:
    return next(a for a in content["annotations"] if isinstance(a["segmentation"], list))


def rle_of(content: dict) -> dict:
    entries = (a["segmentation"] for a in content["annotations"])
    return next(segmentation for segmentation in entries if isinstance(segmentation, dict))


def first(**changes) -> Callable[[dict], None]:
    return lambda content: content["annotations"][0].update(changes)


def without(section: str, key: str) -> Callable[[dict], None]:
    return lambda content: content[section][0].pop(key)


OTHER_SIZE = "masks of another size than the image"
NOTHING = "polygons that enclose nothing"
NO_LISTS = "masks that are no lists of polygons"


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        (first(bbox=[10, 10, -5, 5]), "boxes of negative size", "[10, 10, -5, 5]"),
        (first(bbox=[10, 10, 0, 5]), NO_EXTENT, "box [10, 10, 0, 5]"),
        (first(area=0), NO_EXTENT, "area 0"),
        (first(bbox=[10, 10, math.nan, 5]), "boxes that are not four finite numbers", "nan"),
        (first(bbox=[math.inf, 10, 5, 5]), "boxes that are not four finite numbers", "inf"),
        (first(bbox=[10, 10, 5]), "boxes that are not four finite numbers", "[10, 10, 5]"),
        (first(bbox="none"), "boxes that are not four finite numbers", "none"),
        (first(area="large"), "boxes that are not four finite numbers", "area large"),
        (  # which would be dropped, but not before mmdet has failed on the box
            first(bbox=[0, 0, "8", 9], category_id=99),
            "boxes that are not four finite numbers",
            "'8'",
        ),
        (first(bbox=[9, 3, 11, 10**19]), "boxes far outside the image", "[9, 3, 11, 1000"),
        (first(bbox=[150, 10, 12, 5]), "boxes outside the image", "image 160x120"),
        (first(bbox=[10, -2, 5, 5]), "boxes outside the image", "[10, -2, 5, 5]"),
        (first(bbox=[10, 100, 5, 22]), "boxes outside the image", "[10, 100, 5, 22]"),
        (first(image_id=99), "annotations of unknown images", "image 99"),
        (first(image_id=[1]), "ids that are neither numbers nor names", "id, image_id"),
        (first(category_id=99), "annotations of unknown categories", "category 99"),
        (first(bbox=None), "incomplete annotations", "lacks id, image_id"),
        (without("annotations", "area"), "incomplete annotations", "area"),
        (without("annotations", "category_id"), "incomplete annotations", "category_id"),
        (lambda c: c["annotations"].append([]), "incomplete annotations", "an annotation: "),
        (lambda c: c["annotations"][1].update(id=1), "annotations that share an id", "id 1: 2"),
        (lambda c: c["images"].append(c["images"][0]), "images that share an id", "id 1: 2"),
        (
            lambda c: c["categories"].append(c["categories"][0]),
            "categories that share an id",
            "id 1: 2",
        ),
        (lambda c: polygon_of(c).update(segmentation=[[1, 2, 3, 4]]), NOTHING, "4 coordinates"),
        (lambda c: polygon_of(c).update(segmentation=[[1] * 7]), NOTHING, "7 coordinates"),
        (lambda c: polygon_of(c).update(segmentation=[1, 2, 3, 4, 5, 6]), NO_LISTS, "[1, 2, 3"),
        (lambda c: polygon_of(c).update(segmentation=7), NO_LISTS, "segmentation 7"),
        (
            lambda c: polygon_of(c)["segmentation"][0].extend([5, "5"]),
            "polygons that are not finite numbers",
            "polygon ",
        ),
        (
            lambda c: polygon_of(c)["segmentation"][0].__setitem__(2, math.nan),
            "polygons that are not finite numbers",
            "nan",
        ),
        (
            lambda c: polygon_of(c)["segmentation"][0].__setitem__(2, 1e9),
            "polygons far outside the image",
            "polygon ",
        ),
        (lambda c: rle_of(c).update(size=[160, 120]), OTHER_SIZE, "[160, 120], of the image"),
        (lambda c: rle_of(c)["counts"].append(7), OTHER_SIZE, "runs of 19207 pixels"),
        (lambda c: rle_of(c).pop("counts"), "masks without runs", "None"),
        (lambda c: rle_of(c).update(counts="\xff"), "masks without runs", "counts \xff"),
        (lambda c: rle_of(c).update(counts="1o"), "masks without runs", "counts 1o"),  # cut
        (lambda c: rle_of(c).update(counts="1"), OTHER_SIZE, "runs of 1 pixels"),
    ],
)
def test_defect_of_an_annotation_is_named(change, kind, what, data):
    edit(data, change)
    fine, problems = run_on(data, *TRAIN_ONLY, MASKS)
    assert not fine
    errors = [problem for problem in problems if problem[0] == "error"]
    assert {tuple(error[1:3]) for error in errors} >= {(kind, str(annotations(data)))}
    assert any(what in error[3] for error in errors if error[1] == kind)
    if kind != "categories that share an id":
        assert len(errors) == 1


def test_annotation_is_named_with_its_image(data):
    entry = edit(data, first(bbox=[150, 10, 12, 5]))["annotations"][0]
    _, [problem] = run_on(data, *TRAIN_ONLY)
    name = f"{entry['image_id']:012d}.jpg"
    assert problem[3].startswith(f"annotation {entry['id']} of {name}: box [150, 10, 12, 5]")


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.integers(0, 300), min_size=1, max_size=9),
    height=st.integers(1, 4),
)
def test_packed_runs_are_those_that_pycocotools_packed(runs, height):
    runs = [*runs, -sum(runs) % height]
    size = [height, sum(runs) // height]
    rle = coco_mask.frPyObjects(dict(size=size, counts=runs), *size)["counts"].decode()
    assert _unpacked(rle) == runs


def test_box_may_reach_a_pixel_over_the_border(data):
    edit(data, first(bbox=[-1, -1, 162, 122]))
    assert run_on(data, *TRAIN_ONLY) == (True, [])


def test_masks_are_only_needed_where_they_are_read(data):
    edit(data, without("annotations", "segmentation"))
    assert run_on(data, *TRAIN_ONLY) == (True, [])
    fine, [problem] = run_on(data, *TRAIN_ONLY, MASKS)
    assert not fine
    assert problem[:2] == ["error", "objects without a mask"]


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        (without("images", "file_name"), "incomplete image entries", "1 lack id, file_name"),
        (lambda c: c["images"][0].update(width=0), "incomplete image entries", "1 lack"),
        (
            lambda c: c["images"][0].update(width=200),
            "images of another size than annotated",
            "is 160x120, not 200x120",
        ),
        (without("categories", "name"), "incomplete category entries", "1 lack id or name"),
        (
            lambda c: c["categories"][3].update(name="planet"),
            "classes that are no category of the file",
            "star: labels would be wrong",
        ),
        (
            lambda c: c["categories"].reverse(),
            "categories in another order than the classes",
            "crescent stands where the config has ellipse",
        ),
    ],
)
def test_defect_of_images_and_categories_is_named(change, kind, what, data):
    edit(data, change)
    fine, problems = run_on(data, *TRAIN_ONLY)
    assert not fine
    [text] = [problem[3] for problem in problems if problem[:2] == ["error", kind]]
    assert what in text


def test_objects_of_categories_left_out_are_a_warning(data):
    content = edit(data, lambda c: c["categories"].append(dict(id=8, name="planet")))
    assert run_on(data, *TRAIN_ONLY) == (True, [])
    edit(data, lambda c: [a.update(category_id=8) for a in c["annotations"][:3]])
    fine, [problem] = run_on(data, *TRAIN_ONLY)
    assert fine
    assert problem[:2] == ["warning", "categories that are no class of the config"]
    assert problem[3] == "planet: 3 objects"
    assert len(content["annotations"]) > 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON of COCO's: lists within lists without end"),
        ("[]", "has no list of images, annotations, categories"),
        ('{"images": [], "annotations": [], "categories": {}}', "has no list of categories"),
    ],
)
def test_unreadable_file_is_named_and_the_rest_checked(text, what, data):
    annotations(data).write_text(text)
    (data / "val2017/000000000002.jpg").unlink()
    fine, problems = run_on(data)
    assert not fine
    assert [problem[1] for problem in problems] == [
        "annotation files that cannot be read",
        "files that are missing",
    ]
    assert what in problems[0][3]


def test_set_without_images_is_an_error(data):
    edit(data, lambda c: (c["images"].clear(), c["annotations"].clear()))
    fine, [problem] = run_on(data, *TRAIN_ONLY)
    assert not fine
    assert problem[1:3] == ["data sets without images", str(annotations(data))]


def test_a_few_objects_without_extent_in_many_are_a_warning(tmp_path):
    """As in COCO's train2017: mmdet drops them."""
    entry = dict(image_id=1, category_id=1, bbox=[1, 1, 5, 5], area=9.5)
    flat = dict(id=0, image_id=1, category_id=1, bbox=[1, 1, 5, 0], area=0.0)
    content = dict(
        images=[dict(id=1, file_name="a.jpg", width=9, height=9)],
        categories=[dict(id=1, name="star")],
        annotations=[flat, *(dict(entry, id=i) for i in range(1, 10000))],
    )
    path = tmp_path / "many.json"
    for count, warning in ((10000, True), (9999, False)):
        content["annotations"] = content["annotations"][:count]
        path.write_text(json.dumps(content))
        file = read_annotations(str(path), ["star"], masks=False)
        assert [(p.kind, p.warning) for p in file.problems] == [(NO_EXTENT, warning)]
        assert len(file.annotations) == count - 1


def test_classes_come_in_the_order_of_the_config(tmp_path):
    content = dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=90, height=90) for i in (7, 3)],
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, start=10)],
        annotations=[
            dict(id=i, image_id=image, category_id=category, bbox=[1, 1, 5, 5], area=20)
            for i, (image, category) in enumerate([(3, 12), (7, 10), (3, 16)])
        ],
    )
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(content))
    file = read_annotations(str(path), CLASSES, masks=False)
    assert file.owners.tolist() == [1, 0, 1]
    assert file.labels.tolist() == [2, 0, 6]
    assert file.names == ["7.jpg", "3.jpg"]
    assert not file.problems


def test_thumbnail_shows_masks_and_boxes(tmp_path):
    entry = dict(id=1, image_id=1, category_id=1, bbox=[100, 80, 200, 160], area=20000)
    entry["segmentation"] = [[100, 80, 200, 80, 200, 240, 100, 240]]  # the left half
    content = dict(
        images=[dict(id=1, file_name="grey.png", width=480, height=360)],
        categories=[dict(id=1, name="star")],
        annotations=[entry],
    )
    (tmp_path / "a.json").write_text(json.dumps(content))
    Image.new("RGB", (480, 360), (100, 100, 100)).save(tmp_path / "grey.png")
    metainfo = dict(classes=["star"], palette=[(200, 0, 0)])
    dataset = CocoDataset(
        data_root=str(tmp_path), ann_file="a.json", metainfo=metainfo, lazy_init=True
    )
    dataset.data_prefix = dict(img=str(tmp_path))
    contents = CocoContents(dataset, masks=True)
    assert contents.shown == [0]
    image, caption, labels = contents.thumbnail(0)
    assert image.size == (240, 180)
    assert (caption, labels) == ("grey.png", {0})
    assert np.abs(np.subtract(image.getpixel((75, 100)), (150, 50, 50))).max() <= 1  # mask
    assert image.getpixel((125, 100)) == (100, 100, 100)
    assert image.getpixel((149, 100)) == image.getpixel((125, 119)) == (200, 0, 0)  # box
    assert image.getpixel((151, 100)) == image.getpixel((125, 121)) == (100, 100, 100)


def test_masks_are_decoded_from_all_forms():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 1
    compressed = coco_mask.encode(np.asfortranarray(mask))
    runs, pixels = [], mask.ravel(order="F")
    for start, value in enumerate(pixels):
        if start == 0 or value != pixels[start - 1]:
            runs.append(0)
        runs[-1] += 1
    polygon = [[2, 1, 7, 1, 7, 4, 2, 4]]
    for segmentation in (compressed, dict(size=[6, 8], counts=runs), polygon):
        assert np.array_equal(decode_mask(segmentation, 8, 6), mask.astype(bool))
