"""The robustness sets as folders: labels, subsets, corruptions, and what is refused."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest
from mmengine.registry import DATASETS
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from timm.data import ImageNetInfo

from lsnet_mm.datasets import imagenet_variants
from lsnet_mm.errors import InputError
from lsnet_mm.evaluation.robustness import ALEXNET_ERRORS

CLASSES = ["cross", "ring", "star"]
INFO = ImageNetInfo("imagenet-1k")


def synsets(subset: str) -> list[str]:
    path = files("timm").joinpath(f"data/_info/imagenet_{subset}synsets.txt")
    return path.read_text().split()


def fill(root: Path, folders: Iterable[str], names: Iterable[str] = ("x.JPEG",)) -> Path:
    """Class folders of files that only look like images: none of these tests opens them."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


def build(kind: str, root: Path, classes: list[str] | None = CLASSES, **others):
    metainfo = dict(classes=classes) if classes else None
    return DATASETS.build(dict(type=kind, data_root=str(root), metainfo=metainfo, **others))


def folder_of(sample: dict) -> str:
    return Path(sample["img_path"]).parent.name


@pytest.mark.parametrize(("name", "subset"), [("a_", "a"), ("r_", "r"), ("", None)])
def test_labels_are_those_of_imagenet(name, subset, tmp_path):
    """By three lists: timm's of a set's synsets, its names of synsets, and mmpretrain's labels."""
    fill(tmp_path, synsets(name), ("b.jpg", "a.JPEG"))
    dataset = build("ImageNetVariant", tmp_path, None, subset=subset)
    assert dataset.metainfo["classes"] == IMAGENET_CATEGORIES
    samples = list(dataset)
    assert [folder_of(s) for s in samples] == [s for s in sorted(synsets(name)) for _ in "ab"]
    assert [Path(s["img_path"]).name for s in samples[:2]] == ["a.JPEG", "b.jpg"]
    assert all(Path(s["img_path"]).is_file() for s in samples)
    for s in samples:
        named = IMAGENET_CATEGORIES[s["gt_label"]].split(",")[0]
        assert named == INFO.label_name_to_description(folder_of(s)).split(",")[0]
    labels = sorted({s["gt_label"] for s in samples})
    assert dataset.metainfo["subset"] == labels
    assert len(labels) == (200 if subset else 1000)


def test_known_labels_of_known_synsets(tmp_path):
    known = {"n01498041": 6, "n01770393": 71, "n02110958": 254, "n07753592": 954}
    fill(tmp_path, known)
    dataset = build("ImageNetVariant", tmp_path, None, subset=list(known))
    assert {folder_of(s): s["gt_label"] for s in dataset} == known


def test_own_classes_and_a_subset_of_them(tmp_path):
    fill(tmp_path, CLASSES)
    assert [s["gt_label"] for s in build("ImageNetVariant", tmp_path)] == [0, 1, 2]
    (tmp_path / "ring/x.JPEG").unlink()
    (tmp_path / "ring").rmdir()
    dataset = build("ImageNetVariant", tmp_path, subset=["star", "cross"])
    assert [s["gt_label"] for s in dataset] == [0, 2]
    assert dataset.metainfo["subset"] == [0, 2]


def test_files_beside_the_images_are_passed_over(tmp_path):
    fill(tmp_path, CLASSES, ("x.JPEG", "._x.JPEG", "list.txt"))
    fill(tmp_path, [".cache"])
    (tmp_path / "README.txt").touch()
    assert len(build("ImageNetVariant", tmp_path)) == 3


def corrupted(root: Path, corruptions: Iterable[str], severities: Iterable[int]) -> Path:
    groups = [f"{name}/{severity}" for name in corruptions for severity in severities]
    return fill(root, [f"{group}/{name}" for group in groups for name in CLASSES])


def test_every_sample_knows_its_corruption_and_severity(tmp_path):
    corrupted(tmp_path, ALEXNET_ERRORS, range(1, 6))
    (tmp_path / "fog/4/ring/y.png").touch()
    dataset = build("ImageNetC", tmp_path)
    samples = list(dataset)
    assert len(samples) == 15 * 5 * 3 + 1
    seen = set()
    for i, s in enumerate(samples):
        path = Path(s["img_path"])
        assert path.is_file()
        assert path == tmp_path / s["corruption"] / str(s["severity"]) / folder_of(s) / path.name
        assert CLASSES[s["gt_label"]] == folder_of(s)
        assert s["sample_idx"] == i
        seen.add((s["corruption"], s["severity"], s["gt_label"], path.name))
    assert len(seen) == len(samples)
    assert {(c, s) for c, s, *_ in seen} == {(c, s) for c in ALEXNET_ERRORS for s in range(1, 6)}


@pytest.mark.parametrize(
    ("choice", "groups"),
    [
        (dict(corruptions="fog"), ["fog/1", "fog/2", "fog/3", "fog/4", "fog/5"]),
        (dict(corruptions="fog", severities=3), ["fog/3"]),
        (dict(corruptions=["snow", "fog"], severities=[3]), ["snow/3", "fog/3"]),
        (dict(corruptions=["fog"], severities=[5, 1]), ["fog/5", "fog/1"]),
    ],
)
def test_part_of_the_benchmark_on_purpose(choice, groups, tmp_path):
    corrupted(tmp_path, ["fog"], range(1, 6))
    corrupted(tmp_path, ["snow"], [3])
    dataset = build("ImageNetC", tmp_path, **choice)
    assert [f"{s['corruption']}/{s['severity']}" for s in dataset] == [
        group for group in groups for _ in CLASSES
    ]


def test_fewer_classes_throughout_are_told(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(imagenet_variants, "print_log", lambda *message: messages.append(message))
    corrupted(tmp_path, ["fog"], range(1, 6))
    classes = ["arrow", *CLASSES, "wave"]
    dataset = build("ImageNetC", tmp_path, CLASSES, corruptions="fog")
    assert not messages
    dataset = build("ImageNetC", tmp_path, classes, corruptions="fog")
    assert [s["gt_label"] for s in dataset] == [1, 2, 3] * 5
    assert dataset.metainfo["subset"] == [0, 1, 2, 3, 4]  # any of them may be answered
    ((text, _, level),) = messages
    assert f"{tmp_path}/ has 3 of 5 classes: " in text
    assert level == logging.WARNING


def test_what_is_stored_per_image_is_small(tmp_path, monkeypatch):
    """Of ImageNet-C's 3.75 million: a path without the root; folders are read once."""
    corrupted(tmp_path, ["elastic_transform"], range(1, 6))
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    dataset = build("ImageNetC", tmp_path, corruptions="elastic_transform")
    assert len(listed) == len(set(listed)) == 5 * 3
    per_image = (dataset.data_bytes.nbytes + dataset.data_address.nbytes) / len(dataset)
    relative = len("elastic_transform/1/cross/x.JPEG")
    assert not dataset.data_list
    assert per_image < relative + 50
    assert str(tmp_path).encode() not in dataset.data_bytes.tobytes()
    assert len(list(dataset)) == 15
    assert len(listed) == 15


def remove(path: Path) -> None:
    for child in path.iterdir() if path.is_dir() else ():
        remove(child)
    path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: remove(root / "fog"), "data/ lacks fog\n"),
        (lambda root: remove(root / "snow/4"), "data/ lacks snow/4\n"),
        (
            lambda root: [remove(root / f) for f in ("snow/4", "snow/2", "brightness")],
            "data/ lacks snow/2, snow/4, brightness\n",
        ),
        (
            lambda root: remove(root / "fog/2/ring"),
            "data/fog/2: 1 class folders missing (first: ring)\n",
        ),
        (
            lambda root: (root / "fog/2/ring").rename(root / "fog/2/rings"),
            "data/fog/2: 1 class folders missing (first: ring); "
            "1 folders of no class in the set (first: rings)\n",
        ),
        (
            lambda root: (root / "fog/2/ring/x.JPEG").rename(root / "fog/2/ring/x.txt"),
            "data/fog/2: 1 class folders without images (first: ring)\n",
        ),
        (
            lambda root: (
                [remove(root / f"frost/{s}/star") for s in range(1, 6)]
                + [remove(root / "fog/1/star"), remove(root / "fog/1/ring")]
            ),
            "data/frost/5: 1 class folders missing (first: star)\n  and 1 more such places\n",
        ),
    ],
)
def test_incomplete_data_is_named_before_the_run(damage, message, tmp_path):
    root = corrupted(tmp_path / "data", ALEXNET_ERRORS, range(1, 6))
    damage(root)
    with pytest.raises(InputError) as raised:
        build("ImageNetC", root)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ImageNetVariant", dict(data_root="none"), "none/: no such folder"),
        ("ImageNetC", dict(data_root="none"), "none/ lacks gaussian_noise, shot_noise, "),
        ("ImageNetVariant", dict(metainfo=None), "1000 class folders missing (first: n01440764)"),
        ("ImageNetVariant", dict(metainfo=None, subset="a"), "200 class folders missing"),
        ("ImageNetVariant", dict(subset="a"), "subset: 200 folders of no class (first: n01498041)"),
        ("ImageNetVariant", dict(subset="c"), "subset must be 'a', 'r' or a list of folders"),
        ("ImageNetVariant", dict(subset=["ring"]), "2 folders of no class in the set (first: cro"),
        ("ImageNetVariant", dict(subset=["rings"]), "subset: 1 folders of no class (first: rings)"),
        ("ImageNetVariant", dict(metainfo=dict(classes=["b", "a"])), "in alphabetical order"),
        ("ImageNetC", dict(corruptions=["mist"]), "corruptions must be some of gaussian_noise, "),
        ("ImageNetC", dict(corruptions=["fog", "fog"]), "got ['fog', 'fog']"),
        ("ImageNetC", dict(corruptions=[]), "got []"),
        ("ImageNetC", dict(severities=[0, 1]), "severities must be some of 1, 2, 3, 4, 5, got [0"),
    ],
)
def test_settings_that_do_not_fit_are_named(kind, options, message, tmp_path):
    settings = dict(data_root=str(fill(tmp_path, CLASSES)), metainfo=dict(classes=CLASSES))
    with pytest.raises(InputError) as raised:
        DATASETS.build({"type": kind, **settings, **options})
    assert message in str(raised.value)


def test_nothing_is_imported_or_read_until_it_is_asked_for(tmp_path):
    code = "import sys, lsnet_mm; print({'mmpretrain', 'timm', 'mmdet'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
    dataset = build("ImageNetVariant", tmp_path, lazy_init=True)
    fill(tmp_path, CLASSES)
    dataset.full_init()
    assert len(dataset) == 3
