"""Configs for images with label maps."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from lsnet_mm.datasets.shapes import SEGMENTATION_CLASSES
from tests.new_config.conftest import refused, write

NAMES = ",".join(SEGMENTATION_CLASSES)


def relabel(data: Path, table: dict[int, int]) -> None:
    """Rename values of all label maps."""
    for path in data.glob("annotations/*/*.png"):
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        new = values.copy()
        for old, value in table.items():
            new[values == old] = value
        cv2.imwrite(str(path), new)


def zero_becomes_a_class(data: Path) -> None:
    relabel(data, {0: 255, **{i + 1: i for i in range(len(SEGMENTATION_CLASSES))}})


def labels(cfg) -> Iterator[np.ndarray]:
    """Yield the label maps of validation, as the test pipeline gives them."""
    init_default_scope("mmseg")
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    for i in range(len(dataset)):
        yield dataset[i]["data_samples"].gt_sem_seg.data[0].numpy()


def steps(node: object) -> Iterator[dict]:
    """Yield the steps of pipelines that load label maps, wherever they stand."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from steps(item)
    elif isinstance(node, dict):
        if node.get("type") == "LoadAnnotations":
            yield node
        for item in node.values():
            yield from steps(item)


def test_config_says_what_the_folder_holds(ade, capsys):
    cfg = write(ade, "semantic", classes=NAMES)
    assert tuple(cfg.metainfo.classes) == SEGMENTATION_CLASSES
    assert len(cfg.metainfo.palette) == cfg.model.decode_head.num_classes == 8
    assert all(step.reduce_zero_label for step in steps(cfg._cfg_dict))
    shown = capsys.readouterr().out
    assert "label 0 is ignored, 1 is the first class\n" in shown
    assert "  16 images: width 160, height 120" in shown
    assert "warning" not in shown
    sizes = [labels_of_one.shape for labels_of_one in labels(cfg)]
    assert sizes == [(120, 160)] * 6


def test_zero_is_told_to_be_a_class_and_gives_the_same_labels(ade, capsys):
    expected = list(labels(write(ade, "semantic", classes=NAMES)))
    zero_becomes_a_class(ade)
    cfg = write(ade, "semantic", classes=NAMES)
    assert "label 0 is the first class, background\n" in capsys.readouterr().out
    assert not any(step.reduce_zero_label for step in steps(cfg._cfg_dict))
    assert len(list(steps(cfg._cfg_dict))) >= 7  # of loaders, of pipelines, of augmented tests
    assert all(map(np.array_equal, labels(cfg), expected))
    for found in labels(cfg):
        assert set(np.unique(found)) <= {*range(8), 255}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "\n".join(SEGMENTATION_CLASSES) + "\n"),
        (
            "objectInfo150.txt",
            "Idx\tRatio\tName\n"
            + "".join(f"{i}\t0.1\t{name}, other\n" for i, name in enumerate(SEGMENTATION_CLASSES)),
        ),
    ],
)
def test_names_are_read_from_lists(name, text, ade, tmp_path):
    (ade / name).write_text(text)
    assert tuple(write(ade, "semantic").metainfo.classes) == SEGMENTATION_CLASSES
    (ade / name).rename(tmp_path / "names")
    cfg = write(ade, "semantic", classes=str(tmp_path / "names"))
    assert tuple(cfg.metainfo.classes) == SEGMENTATION_CLASSES


@pytest.mark.parametrize("layout", ["img_dir/train", "train/images"])
def test_other_layouts_and_suffixes_are_known(layout, ade):
    named = {"images": ("img_dir", "images"), "annotations": ("ann_dir", "masks")}
    splits = {"training": "train", "validation": "val"}
    for kind, (plain, turned) in named.items():
        for old, split in splits.items():
            new = ade / (f"{plain}/{split}" if layout == "img_dir/train" else f"{split}/{turned}")
            new.parent.mkdir(exist_ok=True)
            (ade / kind / old).rename(new)
            for path in new.glob("*.png"):
                path.rename(path.with_name(f"{path.stem}_labels.png"))
    cfg = write(ade, "semantic", classes=NAMES)
    assert cfg.train_dataloader.dataset.data_prefix.img_path == layout
    assert cfg.own.seg_map_suffix == "_labels.png"
    assert len(list(labels(cfg))) == 6


def test_what_may_be_a_problem_is_told(ade, capsys):
    relabel(ade, {4: 1})
    for kind in ("images", "annotations"):
        (ade / kind / "validation").rename(ade / kind / "held_back")
    cfg = write(ade, "semantic", classes=NAMES)
    assert cfg.val_dataloader is None
    shown = capsys.readouterr().out
    assert "warning: classes without a pixel, which cannot be learnt: rectangle\n" in shown
    assert "warning: there is no validation data" in shown


def first_map(data: Path) -> Path:
    return min(data.glob("annotations/training/*.png"))


def write_colours(data: Path) -> None:
    cv2.imwrite(str(first_map(data)), np.zeros((120, 160, 3), np.uint8))


def cut(data: Path) -> None:
    path = first_map(data)
    path.write_bytes(path.read_bytes()[:-50])


def mix_suffixes(data: Path) -> None:
    path = min(data.glob("images/training/*.jpg"))
    path.rename(path.with_suffix(".JPG"))


def rename_validation(data: Path) -> None:
    for path in data.glob("images/validation/*.jpg"):
        path.rename(path.with_suffix(".png"))


@pytest.mark.parametrize(
    ("spoil", "classes", "message"),
    [
        (None, "a,b,c", "values 0, 1, 2, 3, 4, 5, 6, 7, 8, too many for 3 classes (a, b, c)"),
        (None, None, "values 0, 1, 2, 3, 4, 5, 6, 7, 8, but what are they called?"),
        (None, "a,b,,d", "class names must differ and not be empty, got a, b, , d"),
        (None, "none.txt", "--classes: no such file: none.txt"),
        (lambda d: relabel(d, {0: 1}), NAMES + ",i", "is the first of 9 classes"),
        (lambda d: relabel(d, dict.fromkeys(range(9), 1)), "road", "road is the only class"),
        (write_colours, NAMES, "label maps that are not of one channel (1)"),
        (cut, NAMES, "files that do not decode (1)"),
        (lambda d: first_map(d).unlink(), NAMES, "has no label map of"),
        (mix_suffixes, NAMES, "must hold images of one suffix, and has 15 .jpg, 1 .JPG"),
        (rename_validation, NAMES, "has no images that end in .jpg, as those for training"),
        (
            lambda d: (d / "annotations").rename(d / "x"),
            NAMES,
            "has images, but where are the label maps? Name them with --train-ann",
        ),
        (lambda d: (d / "images").rename(d / "x"), NAMES, "Name them with --train-img"),
    ],
)
def test_bad_data_is_refused(spoil, classes, message, ade):
    if spoil:
        spoil(ade)
    assert message in refused(ade, "semantic", classes=classes)


def test_zero_can_be_given(ade):
    relabel(ade, {0: 1})
    cfg = write(ade, "semantic", classes=NAMES + ",i", zero="ignored")
    assert cfg.own.reduce_zero_label
    cfg = write(ade, "semantic", classes=NAMES + ",i", zero="class")
    assert not cfg.own.reduce_zero_label
    assert refused_zero(ade)


def refused_zero(data: Path) -> bool:
    (data.parent / "own.py").unlink()
    message = refused(data, "semantic", classes=NAMES, zero="class")
    return "too many for 8 classes of which the first is 0" in message


def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    message = refused(tmp_path / "empty", "semantic", classes=NAMES)
    assert "has no images and label maps for training, as " in message
