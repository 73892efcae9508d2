"""Checks that all tasks share, in this process, on a small Shapes set."""

import json
import os
import shutil
import signal
import zlib
from argparse import Namespace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from lsnet_mm.check.files import FileRecord, inspect_files, inspect_image
from lsnet_mm.check.grid import CELL, COLUMNS, LINE, MARGIN
from lsnet_mm.check.run import check
from lsnet_mm.engine.data import class_counts
from lsnet_mm.errors import InputError
from tests.conftest import ROOT

SHAPES = str(ROOT / "tests/configs/tiny_retinanet_shapes.py")


def run(config: str, work_dir: Path, *options: str, sample=None, workers=1) -> tuple[bool, list]:
    """Return whether all was well, and severity, kind, path and text of the problems."""
    args = Namespace(
        config=config,
        work_dir=str(work_dir),
        cfg_options=list(options),
        launcher="none",
        sample=sample,
        workers=workers,
    )
    fine = check(args)
    lines = (work_dir / "dataset_problems.txt").read_text().splitlines()
    return fine, [line.split(": ", 3) for line in lines]


def run_on(data: Path, *options: str, config=SHAPES, **others) -> tuple[bool, list]:
    return run(config, data.parent / "work", f"data_root={data}", *options, **others)


def image(data: Path, number: int, split: str = "train") -> Path:
    return data / f"{split}2017" / f"{number:012d}.jpg"


def test_healthy_set_passes_and_is_described(data, capsys):
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["iscrowd"] = content["annotations"][5]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    assert run_on(data) == (True, [])
    shown = capsys.readouterr().out
    objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    stars = [entry["image_id"] for entry in objects if entry["category_id"] == 4]
    with_any = {entry["image_id"] for entry in content["annotations"]}
    assert "train: CocoDataset, " in shown
    assert "16 images: width 160, height 120, aspect ratio 1.333\n" in shown
    assert f"\n  {16 - len(with_any)} images without annotations" in shown
    assert f"\n  {len(objects)} objects, {len(objects) / 16:.1f} per image" in shown
    assert f"; {len(content['annotations']) - len(objects)} crowds besides\n" in shown
    assert f"\n  {'star':32}{len(stars):14}{len(set(stars)):14}\n" in shown
    assert "\nval: CocoDataset, " in shown
    assert "\ntest" not in shown  # the same data as val's
    assert "\nall is well: 22 images looked at, warnings: 0; see " in shown


def test_grids_show_the_annotated_images(data):
    run_on(data)
    content = json.loads((data / "annotations/instances_val2017.json").read_text())
    annotated = {entry["image_id"] for entry in content["annotations"]}
    labels = {entry["category_id"] for entry in content["annotations"]}
    grid = Image.open(data.parent / "work/dataset_val.jpg")
    rows, legend = -(-len(annotated) // COLUMNS), -(-len(labels) // COLUMNS)
    width = MARGIN + COLUMNS * (CELL[0] + MARGIN)
    height = 2 * MARGIN + rows * (CELL[1] + LINE + MARGIN) + legend * LINE
    assert grid.size == (width, height)
    pixels = np.asarray(grid.convert("RGB")).astype(int)
    first = pixels[MARGIN : MARGIN + CELL[1], MARGIN : MARGIN + CELL[0]]
    source = Image.open(image(data, min(annotated), "val")).resize(CELL)
    assert np.median(np.abs(first - np.asarray(source))) < 4  # but where something is drawn
    assert np.abs(first - np.asarray(source)).max() > 60
    assert (data.parent / "work/dataset_train.jpg").exists()


# Image files.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def turn(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


@pytest.mark.parametrize(
    ("damage", "kind", "what"),
    [
        (Path.unlink, "files that are missing", "does not exist"),
        (cut, "files that do not decode", "truncated"),
        (lambda path: path.write_bytes(b""), "files that do not decode", "is not an image"),
        (lambda path: path.write_text("<html>"), "files that do not decode", "is not an image"),
        (lambda path: (path.unlink(), path.mkdir()), "files that do not decode", "directory"),
        (turn, "images of another size than annotated", "is 120x160, not 160x120"),
    ],
)
def test_damaged_image_is_named(damage, kind, what, data, capsys):
    damage(image(data, 5))
    fine, [[*problem, text]] = run_on(data)
    assert not fine
    assert problem == ["error", kind, str(image(data, 5))]
    assert what in text
    shown = capsys.readouterr().out
    assert f"error: {kind} (1)\n  {image(data, 5)}: {text}\n" in shown
    assert "errors: 1, warnings: 0; all of them in " in shown


def test_odd_but_readable_images_pass(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    for name, picture in {
        "cmyk.jpg": Image.fromarray(pixels, "CMYK"),
        "progressive.jpg": Image.fromarray(pixels[..., :3]),
        "grey.png": Image.fromarray(pixels[..., 0]),
        "alpha.png": Image.fromarray(pixels, "RGBA"),
    }.items():
        options = dict(progressive=True) if name.startswith("progressive") else {}
        picture.save(tmp_path / name, **options)
        record = inspect_image(str(tmp_path / name))
        assert record.size == (30, 40)
        assert not record.problems
    trailing = tmp_path / "trailing.jpg"  # as some cameras leave it
    trailing.write_bytes((tmp_path / "cmyk.jpg").read_bytes() + b"more")
    assert not inspect_image(str(trailing)).problems


def test_image_larger_than_its_file_can_hold_is_not_decoded(tmp_path):
    """A header's few bytes would have the decoder take 40 GB."""
    path = tmp_path / "large.png"
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (200_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    [problem] = inspect_image(str(path)).problems
    assert problem.what == (
        f"{len(content)} bytes cannot hold the 200000x200000 pixels that they announce"
    )


def test_damaged_exif_is_no_damage_of_the_image(tmp_path):
    path = tmp_path / "exif.jpg"
    Image.new("L", (30, 20)).save(path, exif=b"Exif\0\0MM\0*\0\0")
    assert inspect_image(str(path)).size == (30, 20)
    assert not inspect_image(str(path)).problems


def test_padded_image_is_damaged(tmp_path):
    """A download that was broken off, in a file of full length: decoders fill up with grey."""
    path = tmp_path / "noise.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    Image.open(path).load()
    [problem] = inspect_image(str(path)).problems
    assert problem.what == "the end of the image is missing"


@pytest.mark.parametrize(
    "damage",
    [
        lambda png: png[:-12],  # the last chunk
        lambda png: png[:-2],
        lambda png: png[:33] + b"\xff\xff\xff\x7f" + png[37:],  # length of the pixels' chunk
    ],
)
def test_png_whose_end_is_missing_is_damaged(damage, tmp_path):
    """Pillow reads its pixels; OpenCV reads none, and takes the memory that is announced."""
    path = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(damage(path.read_bytes()))
    Image.open(BytesIO(path.read_bytes())).load()
    [problem] = inspect_image(str(path)).problems
    assert problem.what.startswith("the end of the image is missing")


def test_sample_opens_few_images_but_reads_all_annotations(data, capsys):
    cut(image(data, 2))  # the sample is images 1, 9 and 16
    assert run_on(data, sample=3) == (True, [])
    assert "16 images, 3 of them looked at: " in capsys.readouterr().out
    cut(image(data, 16))
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["category_id"] = 99
    path.write_text(json.dumps(content))
    fine, problems = run_on(data, sample=3)
    assert not fine
    assert [problem[2] for problem in problems] == [str(path), str(image(data, 16))]
    assert run_on(data, sample=100)[1] == run_on(data)[1]


def test_processes_find_what_one_does(data, capsys):
    for number in range(1, 17, 3):
        cut(image(data, number))
    serial, shown = run_on(data), capsys.readouterr().out
    parallel = run_on(data, workers=2)
    assert len(serial[1]) == 6
    assert serial == parallel
    assert shown == capsys.readouterr().out


def number_as_size(item: int) -> FileRecord:
    return FileRecord((item, 1), item, [])


def test_more_files_than_wait_at_a_time_come_in_order():
    found = inspect_files(number_as_size, range(500), 2, "many")
    assert found.digests.tolist() == found.sizes[:, 0].tolist() == list(range(500))


def end_process(item: int) -> FileRecord:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_explained():
    with pytest.raises(InputError, match="a worker process was killed"):
        inspect_files(end_process, range(64), 2, "killed")


# The config.


def test_head_of_another_number_of_classes(data):
    fine, problems = run_on(data, "model.bbox_head.num_classes=3")
    assert not fine
    assert {problem[1] for problem in problems} == {"heads that do not fit the data"}
    assert len(problems) == 2  # for train and val
    assert "bbox_head predicts 3 classes, but CocoDataset" in problems[0][3]


def test_class_counts_pass_over_what_tells_none():
    parts = {"data": None, "backbone": -1, "rpn_head": 1, "head": 5}
    model = nn.ModuleDict({name: nn.Identity() for name in parts})
    for name, count in parts.items():
        model[name].num_classes = count
    assert class_counts(model) == {"head": 5}


def test_evaluator_of_other_data(data):
    fine, [problem] = run_on(data, f"val_evaluator.ann_file={data}/none.json")
    assert not fine
    assert problem[:3] == ["error", "files that are missing", f"{data}/none.json"]
    train = data / "annotations/instances_train2017.json"
    fine, [problem] = run_on(data, f"test_evaluator.ann_file={train}")
    kind = "evaluators that read other data than the loader"
    assert not fine
    assert problem[:3] == ["error", kind, str(train)]
    assert problem[3].endswith("instances_val2017.json, which has other images and annotations")
    other = data / "same.json"
    content = json.loads((data / "annotations/instances_val2017.json").read_text())
    other.write_text(json.dumps(content, indent=1))
    assert run_on(data, f"val_evaluator.ann_file={other}") == (True, [])
    config = data.parent / "listed.py"
    metric = dict(type="CocoMetric", ann_file=str(train))
    config.write_text(f"_base_ = {SHAPES!r}\ntest_evaluator = [{metric!r}]\n")
    assert [p[2] for p in run_on(data, config=str(config))[1]] == [str(train)]


def test_wrapped_data_sets_are_found(data):
    config = data.parent / "wrapped.py"
    config.write_text(
        f"_base_ = {SHAPES!r}\n"
        "classes = dict(classes=('ellipse', 'triangle', 'rectangle', 'star', 'cross', 'ring',"
        " 'crescent'))\n"
        "def part(split):\n"
        "    return dict(type='CocoDataset', metainfo=classes, pipeline=[], data_root="
        f"'{data}/', ann_file=f'annotations/instances_{{split}}2017.json',"
        " data_prefix=dict(img=f'{split}2017/'))\n"
        "balanced = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=part('val'))\n"
        "repeated = dict(type='RepeatDataset', times=2, dataset=balanced)\n"
        "joined = dict(type='ConcatDataset', _delete_=True, datasets=[part('train'), repeated])\n"
        "train_dataloader = dict(dataset=joined)\n"
    )
    cut(image(data, 3))
    cut(image(data, 4, "val"))
    fine, problems = run(str(config), data.parent / "work", f"data_root={data}")
    assert not fine
    damaged = {problem[2] for problem in problems if problem[1] == "files that do not decode"}
    assert damaged == {str(image(data, 3)), str(image(data, 4, "val"))}
    assert (data.parent / "work/dataset_train.jpg").exists()
    assert (data.parent / "work/dataset_train_2.jpg").exists()


def test_loaders_may_be_lacking(data):
    shutil.rmtree(data / "train2017")
    assert run_on(data, "train_dataloader=None") == (True, [])
    loaders = [f"{split}_dataloader=None" for split in ("train", "val", "test")]
    with pytest.raises(InputError, match="sets no data loader"):
        run_on(data, *loaders)
    with pytest.raises(InputError, match="data not found"):
        run_on(data)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train_dataloader.dataset.type=CocoPanopticDataset", "reads no plain COCO files"),
        ("train_dataloader.dataset.type=BaseVideoDataset", "cannot be checked: it is neither"),
        ("train_dataloader.dataset.type=NoDataset", "train: the data set cannot be built"),
    ],
)
def test_what_cannot_be_checked_is_refused(option, message, data):
    with pytest.raises(InputError, match=message):
        run_on(data, option)


def test_images_shared_by_train_and_val_are_a_warning(data):
    shutil.copy(image(data, 7), image(data, 2, "val"))
    fine, [problem] = run_on(data)
    assert fine
    assert problem[:3] == ["warning", "images in train and in val", str(image(data, 7))]
    assert problem[3] == f"equals {image(data, 2, 'val')}"


def test_shared_images_are_told_by_path_where_not_opened(data):
    whole = data / "annotations/instances_train2017.json"
    shutil.copy(whole, data / "annotations/again.json")
    options = ("ann_file=annotations/again.json", "data_prefix.img=train2017/")
    options = [f"val_dataloader.dataset.{option}" for option in options]
    evaluator = f"val_evaluator.ann_file={data}/annotations/again.json"
    fine, problems = run_on(data, *options, evaluator, sample=1)
    assert fine
    assert {problem[2] for problem in problems} == {str(image(data, i)) for i in range(1, 17)}
    assert [problem[3] for problem in problems][1:] == ["is in both"] * 15


def test_data_both_trained_on_and_evaluated_is_a_warning(data):
    train = "annotations/instances_train2017.json"
    options = (f"ann_file={train}", "data_prefix.img=train2017/")
    options = [f"val_dataloader.dataset.{option}" for option in options]
    fine, problems = run_on(data, *options, f"val_evaluator.ann_file={data / train}")
    assert fine
    assert problems == [
        [
            "warning",
            "data that is trained on and evaluated",
            str(data / train),
            "is read for train and val",
        ]
    ]
