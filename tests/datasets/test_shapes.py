import hashlib
import importlib.util
import itertools
import json
import os
import resource
import subprocess
import sys
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

from lsnet_mm.datasets import coco_writer, shapes
from lsnet_mm.datasets.coco_writer import (
    COCO_NAMES,
    MAX_POLYGON_BOX_ERROR,
    MIN_POLYGON_IOU,
    OutputFolderError,
    annotate,
    coco_categories,
    encode_rle,
    write_coco,
)
from lsnet_mm.datasets.shapes import CLASSES, PALETTE, Scene, SceneObject, make_scene

ROOT = Path(__file__).parents[2]
SIZE = (320, 240)
COUNTS = {"train": 100, "val": 16}
SMALL = {"train": 3, "val": 2}

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


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process; return its exit status, standard output and error output."""
    spec = importlib.util.spec_from_file_location("make_shapes", ROOT / "tools/make_shapes.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["make_shapes.py", *map(str, args)])
        try:
            status = tool.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def hashes(out_dir):
    files = (path for path in sorted(out_dir.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


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


# Scenes


def check_scene(scene, size):
    assert scene.image.shape == (size[1], size[0], 3)
    assert scene.image.dtype == np.uint8
    times_covered = np.zeros(size[::-1], int)
    for item in scene.objects:
        assert item.mask.dtype == bool
        assert item.mask.shape == size[::-1]
        assert item.mask.sum() >= shapes.MIN_VISIBLE_PIXELS
        assert 0 <= item.label < len(CLASSES)
        times_covered += item.mask
    assert times_covered.max() <= 1
    labels = scene.label_map()
    assert labels.shape == size[::-1]
    assert labels.dtype == np.uint8
    assert ((labels > 0) == (times_covered > 0)).all()
    for item in scene.objects:
        assert (labels[item.mask] == item.label + 1).all()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(32, 160), st.integers(32, 160)),
    seed=st.integers(0, 2**32),
    index=st.integers(0, 10**6),
    split=st.sampled_from(shapes.SPLITS),
)
def test_any_scene_and_its_annotations_are_sound(size, seed, index, split):
    scene = make_scene(size, seed, split, index)
    check_scene(scene, size)
    for item in scene.objects:
        annotation = annotate(item)
        assert annotation["area"] == item.mask.sum()
        assert annotation["bbox"] == tight_box(item.mask)
        drawn = decode(annotation["segmentation"], item.mask.shape)
        if isinstance(annotation["segmentation"], dict):
            assert (drawn == item.mask).all()
        else:
            assert iou(drawn, item.mask) >= MIN_POLYGON_IOU
            assert box_error(drawn, item.mask) <= MAX_POLYGON_BOX_ERROR


def test_the_image_shows_the_objects_where_their_masks_are(monkeypatch):
    """In plain colours, 0 for the background and 20, 40 ... for the objects from back to front."""
    colours = itertools.count(step=20)
    monkeypatch.setattr(
        shapes, "_texture", lambda _, shape, *__: np.full((*shape, 3), next(colours), np.uint8)
    )
    kernel = np.ones((5, 5), np.uint8)  # smooth edges reach so far
    total = wrong = 0
    for index in range(60):
        colours = itertools.count(step=20)
        scene = make_scene(SIZE, 0, "train", index)
        around = cv2.dilate((scene.label_map() > 0).astype(np.uint8), kernel) > 0
        assert not scene.image[~around].any()
        for order, item in enumerate(scene.objects, start=1):
            inside = cv2.erode(item.mask.astype(np.uint8), kernel, borderValue=1) > 0
            total += inside.sum()
            wrong += (scene.image[inside, 0] != 20 * order).sum()
    assert wrong < total / 10_000  # there are smooth edges inside crowds too


def test_scenes_are_varied(scenes):
    objects = [item for scene in scenes for item in scene.objects]
    single = [item for item in objects if not item.crowd]
    assert {item.label for item in single} == set(range(len(CLASSES)))
    areas = np.array([item.mask.sum() for item in single])
    small, large = (areas < 32**2).mean(), (areas > 96**2).mean()
    assert small > 0.2
    assert large > 0.03
    assert 1 - small - large > 0.2
    assert 0.02 < np.mean([not scene.objects for scene in scenes]) < 0.15
    assert 0.02 < np.mean([any(o.crowd for o in scene.objects) for scene in scenes]) < 0.25
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_crowds_are_groups_behind_some_object(scenes):
    for scene in scenes:
        for item in scene.objects:
            if item.crowd:
                assert cv2.connectedComponents(item.mask.astype(np.uint8))[0] > 3
                assert not all(other.crowd for other in scene.objects)


def test_objects_occlude_each_other(scenes):
    touching = 0
    for scene in scenes:
        for i, item in enumerate(scene.objects):
            near = cv2.dilate(item.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            touching += any((near & other.mask).any() for other in scene.objects[:i])
    assert touching > 0.2 * sum(len(scene.objects) for scene in scenes)


def test_what_is_hidden_is_dropped_and_hides_nothing():
    def layer(label, rows):
        alpha = np.zeros((32, 32), np.uint8)
        alpha[rows] = 255
        return shapes._Layer(label, alpha, crowd=False)

    back, hidden, front = layer(0, slice(0, 20)), layer(1, slice(8, 16)), layer(2, slice(9, 32))
    kept = shapes._visible([back, hidden, front])
    assert [found.label for found, _ in kept] == [0, 2]
    assert [mask.sum() for _, mask in kept] == [9 * 32, 23 * 32]


def test_the_label_map_of_a_known_scene():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 0, 0] = masks[1, 1, 1:] = True
    scene = Scene(
        np.zeros((2, 3, 3), np.uint8),
        [SceneObject(4, masks[0], False), SceneObject(0, masks[1], True)],
    )
    assert scene.label_map().tolist() == [[5, 0, 0], [0, 1, 1]]


def test_make_scene_refuses_what_it_cannot_draw():
    for arguments in [((31, 240), 0, "train", 0), (SIZE, -1, "train", 0), (SIZE, 0, "test", 0)]:
        with pytest.raises(ValueError, match=r"size|non-negative|x not in tuple"):
            make_scene(*arguments)


def test_every_class_has_an_outline_a_colour_and_a_coco_category():
    assert len(CLASSES) == len(shapes.OUTLINES) == len(PALETTE) == len(set(PALETTE))
    assert tuple(COCO_NAMES) == CLASSES
    for outline in shapes.OUTLINES:
        radii = np.linalg.norm(np.concatenate(outline), axis=1)
        assert radii.max() == pytest.approx(1, abs=0.01)


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


# The output folder


def test_an_earlier_run_is_replaced_with_nothing_left(tmp_path):
    write_coco(tmp_path / "new", SMALL, SIZE, seed=0)
    write_coco(tmp_path / "old", {"train": 9, "val": 9}, (64, 48), seed=5, coco_classes=True)
    (tmp_path / "old/train2017/000000000009.jpg.part").touch()  # as a killed run leaves
    (tmp_path / "old/readme.txt").write_text("not in our folders")
    write_coco(tmp_path / "old", SMALL, SIZE, seed=0)
    (tmp_path / "old/readme.txt").unlink()
    assert hashes(tmp_path / "old") == hashes(tmp_path / "new")


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (False, "train2017/000000000001.jpg"),
        (False, "val2017/photo.jpg"),
        (False, "annotations/instances_val2017.json"),
        (True, "train2017/000000000004.jpg"),  # one more than the earlier run wrote
        (True, "val2017/photo.jpg"),
        (True, "annotations/person_keypoints_val2017.json"),
    ],
)
def test_a_folder_with_other_files_is_refused_and_kept(tmp_path, run, ours, name):
    if ours:
        write_coco(tmp_path, SMALL, (32, 32), seed=0)
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("precious")
    before = hashes(tmp_path)
    status, _, error = run(tmp_path, "--train", 9, "--val", 9, "--size", "32x32")
    assert (status, hashes(tmp_path)) == (2, before)
    assert error == (
        f"make_shapes.py: error: {other} was not written by this tool: choose another folder\n"
    )


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"counts": {"train": "x"}}'])
def test_a_marker_of_another_kind_is_refused_and_kept(tmp_path, text):
    (tmp_path / "shapes.json").write_text(text)
    with pytest.raises(OutputFolderError, match=r"shapes\.json was not written by this tool"):
        write_coco(tmp_path, SMALL, SIZE, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.json"]
    assert (tmp_path / "shapes.json").read_text() == text


def test_annotations_go_first_and_come_last(tmp_path, monkeypatch):
    """So that a run stopped at any point leaves either a complete set or one without them."""
    write_coco(tmp_path, SMALL, (32, 32), seed=0)
    seen = []
    unlink, replace = Path.unlink, Path.replace
    monkeypatch.setattr(Path, "unlink", lambda p, **k: (seen.append(("-", p.name)), unlink(p))[1])
    monkeypatch.setattr(
        Path, "replace", lambda p, to: (seen.append(("+", to.name)), replace(p, to))[1]
    )

    def images(*_):
        seen.append(("images", ""))
        return []

    monkeypatch.setattr(coco_writer, "_write_images", images)
    write_coco(tmp_path, SMALL, (32, 32), seed=0)
    annotations = ["instances_train2017.json", "instances_val2017.json"]
    assert sorted(name for _, name in seen[:2]) == annotations
    assert [kind for kind, _ in seen[:7]] == ["-"] * 7
    assert seen[7:] == [
        ("+", "shapes.json"),
        ("images", ""),
        ("images", ""),
        *(("+", name) for name in annotations),
    ]


# The command line


def test_help_and_bad_arguments_wait_for_no_import():
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "finally: print('slow' if {'numpy', 'torch', 'lsnet_mm'} & {*sys.modules} else 'fast')"
    )
    for arguments, status in [(["--help"], 0), (["out", "--size", "9x9"], 2)]:
        done = subprocess.run(
            [sys.executable, "-c", code, ROOT / "tools/make_shapes.py", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert done.stdout.endswith("fast\n")


def test_help_tells_the_mapping_to_coco(run):
    status, output, _ = run("--help")
    assert status == 0
    for shape, name in COCO_NAMES.items():
        assert f"{shape} to {name}" in " ".join(output.split())


def test_the_tool_writes_what_it_is_asked_for(tmp_path, run):
    out_dir = tmp_path / "a" / "b"
    status, output, error = run(
        *(out_dir, "--train", 2, "--val", 0, "--size", "48x32", "--seed", 7, "--coco-classes")
    )
    assert (status, error) == (0, "")
    assert output.startswith(f"{out_dir}: 2 training and 0 validation images")
    expected = tmp_path / "expected"
    write_coco(expected, {"train": 2, "val": 0}, (48, 32), seed=7, coco_classes=True)
    assert hashes(out_dir) == hashes(expected)
    assert load(out_dir, "val")["images"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--size", "320"], "'320' is not WIDTHxHEIGHT"),
        (["--size", "320x"], "'320x' is not WIDTHxHEIGHT"),
        (["--size", "-320x240"], "expected one argument"),
        (["--size", "31x240"], "'31x240' is not WIDTHxHEIGHT of 32 to 8192 pixels"),
        (["--size", "320x8193"], "'320x8193' is not"),
        (["--train", "-1"], "'-1' is not a whole number"),
        (["--val", "1.5"], "'1.5' is not a whole number"),
        (["--seed", "-3"], "'-3' is not a whole number"),
        (["--sede", "3"], "unrecognized arguments: --sede 3"),
    ],
)
def test_bad_arguments(tmp_path, run, arguments, reason):
    status, output, error = run(tmp_path / "out", *arguments)
    assert (status, output) == (2, "")
    assert reason in error
    assert error.startswith("make_shapes.py: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(tmp_path, run):
    (tmp_path / "out").write_text("precious")
    status, _, error = run(tmp_path / "out")
    assert (status, error) == (2, f"make_shapes.py: error: {tmp_path}/out is not a folder\n")
    status, _, error = run(tmp_path / "out" / "below")
    assert status == 1
    assert error.count("\n") == 1
    assert "Not a directory" in error
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize(
    ("limit", "culprit"),
    [(1000, r"train2017/000000000001.jpg"), (20_000, r"annotations/instances_train2017.json")],
)
def test_a_full_disk_is_told_and_leaves_no_partial_file(tmp_path, run, limit, culprit):
    """A limit on the size of files stands in for a full disk: the same error, mid-file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        status, output, error = run(tmp_path, "--train", 100, "--val", 0, "--size", "64x64")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, output) == (1, "")
    assert error.startswith("make_shapes.py: error: cannot write the data set: ")
    assert error.endswith(f"File too large: '{tmp_path / culprit}'\n")
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / culprit).exists()
    assert not list((tmp_path / "annotations").iterdir())
    assert run(tmp_path, "--train", 1, "--val", 1, "--size", "32x32")[0] == 0


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (lambda: os._exit(9), 1, "a worker process was killed"),
        (KeyboardInterrupt, 130, "interrupted: the data set is not complete"),
    ],
)
def test_a_run_that_is_stopped(tmp_path, run, monkeypatch, fault, status, reason):
    if fault is KeyboardInterrupt:
        monkeypatch.setattr(coco_writer, "tqdm", lambda *_, **__: (_ for _ in ()).throw(fault))
    else:
        monkeypatch.setattr(coco_writer, "_start_worker", fault)
    found, output, error = run(tmp_path, "--train", 4, "--val", 0, "--size", "32x32")
    assert (found, output) == (status, "")
    assert error.startswith(f"make_shapes.py: error: {reason}")
    assert not list((tmp_path / "annotations").iterdir())
