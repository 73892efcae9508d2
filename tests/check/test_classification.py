"""Each thing that can be wrong with class folders and lists, on a few small images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsnet_mm.errors import InputError
from tests.check.test_run import cut, run

CONFIG = """
default_scope = "mmpretrain"
data_root = {root!r}
metainfo = dict(classes=("cat", "dog", "eel"))
train_dataloader = dict(dataset=dict(
    type="ImageNet", data_root=data_root, split="train", metainfo=metainfo))
val_dataloader = test_dataloader = dict(dataset=dict(
    type="CustomDataset", data_root=data_root, data_prefix="val", metainfo=metainfo))
"""


@pytest.fixture
def data(tmp_path) -> Path:
    """Class folders c, d and e of noise: train has 4, 3 and 2 images, val one each."""
    random = np.random.default_rng(0)
    for split, counts in (("train", (4, 3, 2)), ("val", (1, 1, 1))):
        for folder, count in zip("cde", counts, strict=True):
            (tmp_path / split / folder).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / folder / f"{i}.JPEG")
    (tmp_path / "config.py").write_text(CONFIG.format(root=str(tmp_path)))
    return tmp_path


def run_on(data: Path, *options: str, **others) -> tuple[bool, list]:
    return run(str(data / "config.py"), data / "work", *options, **others)


def test_healthy_set_passes_and_is_described(data, capsys):
    assert run_on(data) == (True, [])
    shown = capsys.readouterr().out
    assert "9 images: width 30, height 20 to 23 (median 21), aspect ratio 1.304 to 1.5" in shown
    assert f"\n  {'cat':32}{4:14}\n  {'dog':32}{3:14}\n  {'eel':32}{2:14}\n" in shown
    assert "all is well: 12 images looked at" in shown
    with Image.open(data / "work/dataset_train.jpg") as grid:
        pixels = np.asarray(grid)
    assert (pixels[6:166, 6:246].std((0, 1)) > 30).all()  # an image
    assert (pixels[187:203, 6:60] < 100).any()  # its class


def test_damaged_image_is_named(data):
    cut(data / "train/d/1.JPEG")
    fine, [problem] = run_on(data)
    assert not fine
    assert problem[:3] == ["error", "files that do not decode", str(data / "train/d/1.JPEG")]


def test_class_without_images(data):
    for path in (data / "train/e").iterdir():
        path.rename(path.with_suffix(".part"))
    kind = "classes without images"
    assert run_on(data) == (False, [["error", kind, str(data / "train"), "eel (label 2)"]])
    run_on(data, sample=1)
    (data / "val/d/0.JPEG").unlink()
    _, problems = run_on(data, sample=1)
    assert ["warning", kind, str(data / "val"), "dog (label 1)"] in problems


def test_classes_in_another_order_than_their_folders(data):
    """mmpretrain numbers folders alphabetically, whatever the order of metainfo.classes."""
    text = (data / "config.py").read_text()
    (data / "config.py").write_text(text.replace('"cat", "dog", "eel"', '"c", "e", "d"'))
    fine, problems = run_on(data)
    assert not fine
    kind = "class folders in another order than the classes"
    what = "d stands where the config has e: labels would be wrong"
    assert ["error", kind, str(data / "train"), what] in problems


def test_mostly_empty_set_stands_in_for_another(data):
    for folder in "de":
        for path in (data / "train" / folder).iterdir():
            path.unlink()
    kind = "classes without images"
    assert run_on(data) == (True, [["warning", kind, str(data / "train"), "2 of 3"]])


@pytest.mark.parametrize("extra", [True, False])
def test_folders_of_another_number_than_classes(extra, data):
    if extra:
        shutil.copytree(data / "train/e", data / "train/f")
    else:
        shutil.rmtree(data / "train/e")
    fine, [problem] = run_on(data)
    assert not fine
    kind = "class folders of another number than the classes"
    assert problem[:3] == ["error", kind, str(data / "train")]
    assert problem[3] == f"{4 if extra else 2} folders for 3 classes"


def test_list_of_images_and_labels(data, capsys):
    (data / "meta").mkdir()
    counts = {"c": 4, "d": 3, "e": 2}
    lines = [
        f"{folder}/{i}.JPEG {label}"
        for label, (folder, count) in enumerate(counts.items())
        for i in range(count)
    ]
    path = data / "meta/train.txt"
    path.write_text("\n".join(lines))
    assert run_on(data) == (True, [])
    assert f"train: ImageNet, {path}" in capsys.readouterr().out
    path.write_text("\n".join([*lines, "c/9.JPEG 0", "c/1.JPEG 3", "c/1.JPEG", "c/2.JPEG dog"]))
    fine, problems = run_on(data)
    assert not fine
    assert problems == [
        ["error", "lines that are not a file and a label", str(path), "line 12: 'c/1.JPEG'"],
        ["error", "lines that are not a file and a label", str(path), "line 13: 'c/2.JPEG dog'"],
        [
            "error",
            "labels out of range",
            str(path),
            f"3 of {data}/train/c/1.JPEG; there are 3 classes",
        ],
        ["error", "files that are missing", f"{data}/train/c/9.JPEG", "does not exist"],
    ]


def test_heads_and_folders_name_classes_where_the_config_does_not(data, capsys):
    config = data / "config.py"
    text = config.read_text().replace("metainfo=metainfo", "")
    text = text.replace('type="ImageNet"', 'type="CustomDataset"').replace("split=", "data_prefix=")
    model = (
        "model = dict(type='ImageClassifier', backbone=dict(type='LeNet5'),"
        " head=dict(type='LinearClsHead', num_classes={}, in_channels=4))\n"
    )
    config.write_text(text + model.format(3))
    assert run_on(data) == (True, [])
    assert f"\n  {'c':32}{4:14}\n" in capsys.readouterr().out
    preprocessor = "data_preprocessor = dict(num_classes=5)\n"  # for models that take one
    config.write_text(text + model.format(5) + preprocessor)
    fine, problems = run_on(data)
    assert not fine
    assert {problem[1] for problem in problems} == {"heads that do not fit the data"}
    assert [problem[3].split(" (")[0] for problem in problems[:2]] == [
        "data_preprocessor predicts 5 classes, but CustomDataset",
        "head predicts 5 classes, but CustomDataset",
    ]
    (data / "list.txt").write_text("c/0.JPEG 4\nd/0.JPEG 5\n")
    _, problems = run_on(data, "train_dataloader.dataset.ann_file=list.txt")
    assert ["error", "labels out of range"] in [problem[:2] for problem in problems]


def test_unlabelled_images_pass(data, capsys):
    option = "train_dataloader.dataset.with_label=False"
    assert run_on(data, option) == (True, [])
    assert "no labels" in capsys.readouterr().out
    (data / "meta").mkdir()
    (data / "meta/train.txt").write_text("c/0.JPEG\nd/0.JPEG\n")
    assert run_on(data, option) == (True, [])
    assert "2 images: width 30" in capsys.readouterr().out


def test_data_sets_that_read_in_a_way_of_their_own(data):
    """Here, mmengine's own format."""

    def write(images: list[dict]) -> None:
        (data / "own.json").write_text(json.dumps(dict(metainfo={}, data_list=images)))

    write([dict(img_path="c/0.JPEG", gt_label=0), dict(img_path="d/0.JPEG", gt_label=3)])
    config = data / "config.py"
    config.write_text(
        config.read_text() + "train_dataloader = dict(dataset=dict(type='mmpretrain.BaseDataset',"
        " data_root=data_root, data_prefix='train', ann_file='own.json', metainfo=metainfo))\n"
    )
    cut(data / "train/c/0.JPEG")
    fine, problems = run_on(data)
    assert not fine
    assert [problem[1] for problem in problems] == [
        "labels out of range",
        "files that do not decode",
    ]
    write([dict(gt_label=0)])
    with pytest.raises(InputError, match=r"BaseDataset cannot read .*own\.json: .*img_path"):
        run_on(data)
    config.write_text(config.read_text().replace("data_prefix='train'", "data_prefix={}"))
    with pytest.raises(InputError, match="BaseDataset has no image files: it cannot be checked"):
        run_on(data)


def test_missing_folder_is_one_message(data):
    shutil.rmtree(data / "train")
    with pytest.raises(InputError, match=f"train: data not found: {data}/train"):
        run_on(data)


def test_class_folders_of_train_and_val_are_compared(data):
    """As many, so that nothing else tells: the labels of val mean other classes."""
    text = (data / "config.py").read_text().replace("metainfo=metainfo", "")
    text = text.replace('type="ImageNet"', 'type="CustomDataset"').replace("split=", "data_prefix=")
    (data / "config.py").write_text(text)
    assert run_on(data) == (True, [])
    (data / "val/d").rename(data / "val/x")
    fine, problems = run_on(data)
    assert not fine
    kind = "class folders of train and val that differ"
    assert [problem[:3] for problem in problems] == [["error", kind, str(data / "val")]] * 2
    assert [problem[3] for problem in problems] == [
        f"only {name} has {folder}: labels would be wrong"
        for name, folder in (("train", "d"), ("val", "x"))
    ]
