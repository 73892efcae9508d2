"""What users see of data that cannot be used, and of unusual data that can: training and testing."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from lsnet_mm.errors import InputError
from tests.conftest import ROOT
from tests.engine.test_run import SHAPES, arguments, run_test, run_train

SEGMENTATION = str(ROOT / "tests/configs/tiny_fpn_shapes.py")
SHORT = ("train_cfg.max_epochs=1", "train_dataloader.batch_size=4")


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    """A copy of the Shapes set, to be damaged."""
    return Path(shutil.copytree(shapes, tmp_path / "data"))


@pytest.fixture
def label_maps(shapes_as_ade20k, tmp_path) -> Path:
    """A copy of the Shapes set with label maps, to be damaged."""
    return Path(shutil.copytree(shapes_as_ade20k, tmp_path / "maps"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, str]:
    """Checkpoints of untrained networks, by config."""
    files = {}
    for config in (SHAPES, SEGMENTATION):
        cfg = Config.fromfile(config)
        init_default_scope(cfg.default_scope)
        files[config] = str(tmp_path_factory.mktemp("weights") / "weights.pth")
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), files[config])
    return files


def train(data: Path, *options: str, config: str = SHAPES, **others) -> Path:
    """Train on a folder of data; return the work folder."""
    work_dir = data.parent / "work"
    run_train(arguments(config, work_dir, f"data_root={data}/", *options, **others))
    return work_dir


def test(data: Path, checkpoint: str, *options: str, config: str = SHAPES) -> dict[str, float]:
    work_dir = data.parent / "test"
    options = (f"data_root={data}/", *options)
    return run_test(arguments(config, work_dir, *options, checkpoint=checkpoint))


test.__test__ = False


def picture(data: Path, number: int, split: str = "train") -> Path:
    return data / f"{split}2017" / f"{number:012d}.jpg"


def with_annotations(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Damage to both annotation files."""

    def damage(data: Path) -> None:
        for path in (data / "annotations").glob("*.json"):
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))

    return damage


def with_images(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Damage to all images but one of each split: filters may leave some out."""

    def damage(data: Path) -> None:
        for split in ("train", "val"):
            for path in sorted((data / f"{split}2017").glob("*.jpg"))[1:]:
                change(path)

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncate(data: Path) -> None:
    for path in (data / "annotations").glob("*.json"):
        cut(path)


def turn(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


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
    "missing image": (with_images(Path.unlink), [".jpg: does not exist. ", CHECK]),
    "truncated image": (with_images(cut), [".jpg: ", "truncated", CHECK]),
    "no image": (
        with_images(lambda path: path.write_text("<html>")),
        [".jpg: is not an image. ", CHECK, "on_bad_image=skip"],
    ),
    "image turned": (
        with_images(turn),
        [".jpg: is 120x160, but its annotations are of an image of 160x120", "EXIF", CHECK],
    ),
    "no images": (
        with_annotations(lambda content: content.update(images=[], annotations=[])),
        ["a data set has no images to use", "annotations/instances_"],
    ),
}


@pytest.mark.parametrize("tool", ["train", "test"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_detection_data_is_explained(name, tool, data, weights):
    damage, words = DAMAGES[name]
    damage(data)
    with pytest.raises(InputError) as raised:
        train(data, *SHORT) if tool == "train" else test(data, weights[SHAPES])
    for word in words:
        assert word in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_worker_hands_on_a_bad_image_without_its_traceback(data, weights):
    cut(picture(data, 4, "val"))
    with pytest.raises(InputError) as raised:
        test(data, weights[SHAPES], "test_dataloader.num_workers=1")
    assert str(raised.value).startswith(f"{picture(data, 4, 'val')}: ")
    assert "Traceback" not in str(raised.value)


def test_objects_that_are_left_out_are_told(data):
    """mmdet drops them without a word."""

    @with_annotations
    def damage(content: dict) -> None:
        changes = [dict(bbox=[0, 0, 0, 9]), dict(bbox=[9, 9, -3, 9]), dict(category_id=99)]
        changes += [dict(bbox=[150, 100, 60, 60]), dict(image_id=1234)]
        for entry, change in zip(content["annotations"], changes, strict=False):
            entry.update(change)

    damage(data)
    log = next(train(data, *SHORT).glob("*/*.log")).read_text()
    for kind in (
        "objects without extent, dropped on loading",
        "boxes of negative size",
        "annotations of unknown categories",
        "boxes outside the image",
        "annotations of unknown images",
    ):
        assert f"warning: {kind} (2)\n" in log or f"warning: {kind} (2)" in log.splitlines()[-1] or (
            f"warning: {kind} (2)" in log
        )
    assert "annotation 3 of" in log
    assert "category 99" in log


def write_map(path: Path, values: np.ndarray) -> None:
    assert cv2.imwrite(str(path), values)


MAP_DAMAGES = {
    "another size": (
        lambda path: write_map(path, np.ones((60, 80), np.uint8)),
        ["label maps of another size: is 80x60, its image 160x120"],
    ),
    "values out of range": (
        lambda path: write_map(path, np.full((120, 160), 77, np.uint8)),
        ["values out of range: 77 in 19200 pixels; there may be 1 to 8, and 0, 255 to ignore"],
    ),
    "16 bits": (
        lambda path: write_map(path, np.full((120, 160), 258, np.uint16)),
        ["values out of range: over 255 in 19200 pixels"],
    ),
    "colours": (
        lambda path: write_map(path, np.ones((120, 160, 3), np.uint8)),
        ["label maps that are not of one channel: has 3 channels (RGB)"],
    ),
    "missing": (Path.unlink, ["images without a label map: ", "does not exist"]),
    "truncated": (cut, [".png: ", "truncated"]),
}


@pytest.mark.parametrize("tool", ["train", "test"])
@pytest.mark.parametrize("name", MAP_DAMAGES)
def test_damaged_label_maps_are_explained(name, tool, label_maps, weights):
    damage, words = MAP_DAMAGES[name]
    for path in (label_maps / "annotations").rglob("*.png"):
        damage(path)
    if tool == "test" and name == "missing":
        words = [".png: does not exist"]
    with pytest.raises(InputError) as raised:
        if tool == "train":
            train(label_maps, config=SEGMENTATION)
        else:
            test(label_maps, weights[SEGMENTATION], config=SEGMENTATION)
    for word in [*words, "tools/check_dataset.py"]:
        assert word in str(raised.value)


def test_label_maps_that_are_sound_pass(label_maps, weights):
    """Of 16 bits, but with values that fit in 8; and with pixels to ignore."""
    for path in (label_maps / "annotations").rglob("*.png"):
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16)
        values[:10] = 0
        write_map(path, values)
    assert "mIoU" in test(label_maps, weights[SEGMENTATION], config=SEGMENTATION)


# Unusual images.


def unusual(folder: Path, size: tuple[int, int]) -> dict[str, Path]:
    """Write images of many kinds, of one size (width, height) as training sees them."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    rgb, grey = Image.fromarray(colours[..., :3]), Image.fromarray(colours[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "grey.jpg": grey,
        "grey16.png": Image.fromarray(colours[..., 0].astype(np.uint16) * 257),
        "cmyk.jpg": rgb.convert("CMYK"),
        "alpha.png": Image.fromarray(colours, "RGBA"),
        "grey_alpha.png": Image.fromarray(colours, "RGBA").convert("LA"),
        "palette.png": rgb.quantize(16),
        "bits.png": grey.convert("1"),
        "turned.jpg": rgb.transpose(Image.Transpose.ROTATE_90),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        image.save(folder / name, **(dict(exif=exif) if name == "turned.jpg" else {}))
    return {name: folder / name for name in images}
