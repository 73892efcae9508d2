"""Images and label maps that cannot be used, and unusual ones that can, as data sets give them."""

import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from lsnet_mm.engine.run import load_config
from lsnet_mm.engine.samples import IN_A_ROW, guard, summary
from lsnet_mm.errors import DataError
from tests.engine.bad_data import cut, pad, turn, unusual
from tests.engine.test_bad_input import SEGMENTATION
from tests.engine.test_run import SHAPES, arguments


def open_set(config: str, data: Path, bad_images: Path | None = None, **others) -> BaseDataset:
    """Open the training set of a config on a folder of data, and guard it."""
    cfg = load_config(arguments(config, data, f"data_root={data}/"))
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, **others})
    guard(dataset, bad_images)
    return dataset


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (Path.unlink, "does not exist"),
        (cut, "image file is truncated"),
        (lambda path: path.write_bytes(b""), "is not an image"),
        (lambda path: path.write_text("<html>"), "is not an image"),
        (pad, "the end of the image is missing"),
        (turn, "is 120x160, but its annotations are of an image of 160x120"),
    ],
)
@pytest.mark.parametrize("test_mode", [False, True])
def test_bad_image_is_named(damage, what, test_mode, data):
    dataset = open_set(SHAPES, data, test_mode=test_mode)
    path = Path(dataset.get_data_info(0)["img_path"])
    damage(path)
    with pytest.raises(DataError) as raised:
        dataset[0]
    assert str(raised.value).startswith(f"{path}: {what}")
    assert "tools/check_dataset.py" in str(raised.value)
    assert "on_bad_image=skip" in str(raised.value)
    assert dataset[1]["data_samples"].img_path != str(path)


def write_map(path: Path, values: np.ndarray) -> None:
    assert cv2.imwrite(str(path), values)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            lambda path: write_map(path, np.ones((60, 80), np.uint8)),
            "label maps of another size: is 80x60, its image 160x120",
        ),
        (
            lambda path: write_map(path, np.full((120, 160), 77, np.uint8)),
            "label maps with values out of range: 77 in 19200 pixels; there may be 1 to 8, and 0, "
            "255 to ignore",
        ),
        (
            lambda path: write_map(path, np.full((120, 160), 258, np.uint16)),
            "label maps with values out of range: over 255 in 19200 pixels",
        ),
        (
            lambda path: write_map(path, np.ones((120, 160, 3), np.uint8)),
            "label maps that are not of one channel: has 3 channels (RGB)",
        ),
        (Path.unlink, "does not exist"),
        (cut, "image file is truncated"),
    ],
)
def test_bad_label_map_is_named(damage, what, label_maps):
    dataset = open_set(SEGMENTATION, label_maps)
    path = Path(dataset.get_data_info(2)["seg_map_path"])
    damage(path)
    with pytest.raises(DataError) as raised:
        dataset[2]
    assert str(raised.value).startswith(f"{path}: {what}")


def test_label_maps_of_a_single_row_are_refused(label_maps):
    dataset = open_set(SEGMENTATION, label_maps)
    info = dataset.get_data_info(2)
    write_map(info["img_path"], np.ones((1, 9, 3), np.uint8))
    write_map(info["seg_map_path"], np.ones((1, 9), np.uint8))
    with pytest.raises(DataError, match="is 9x1: mmseg cannot read label maps of a single row"):
        dataset[2]


def test_sound_label_maps_pass(label_maps):
    """Of 16 bits, but with values that fit in 8; and with pixels to ignore."""
    dataset = open_set(SEGMENTATION, label_maps)
    path = Path(dataset.get_data_info(2)["seg_map_path"])
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16)
    values[:10], values[10:20] = 0, 255
    write_map(path, values)
    labels = dataset[2]["data_samples"].gt_sem_seg.data.numpy()
    assert set(np.unique(labels)) - {255} <= set(range(8))
    assert (labels == 255).sum() >= 20 * 160


def test_errors_of_transforms_name_the_image_or_stay_as_they_are(data):
    dataset = open_set(SHAPES, data)
    path = dataset.get_data_info(0)["img_path"]

    def fail(error: Exception, _: dict) -> None:
        raise error

    dataset.pipeline.transforms.insert(1, partial(fail, ValueError("too small")))
    with pytest.raises(DataError) as raised:
        dataset[0]
    assert str(raised.value).startswith(f"{path}: partial fails on it: too small. ")
    dataset.pipeline.transforms[1] = partial(fail, KeyError("a slip in a transform"))
    with pytest.raises(KeyError, match="a slip in a transform"):
        dataset[0]


# Skipping.


def paths(dataset: BaseDataset, workers: int) -> list[str]:
    loader = DataLoader(dataset, 2, num_workers=workers, collate_fn=pseudo_collate)
    return [sample.img_path for batch in loader for sample in batch["data_samples"]]


def test_the_next_image_takes_the_place_of_a_bad_one(data, tmp_path):
    bad_images = tmp_path / "bad_images.txt"
    dataset = open_set(SHAPES, data, bad_images)
    whole, count = paths(dataset, 0), len(dataset)
    assert summary(bad_images) == ["no bad images"]
    for index in (1, 2, count - 1):
        cut(Path(whole[index]))
    expected = [*whole]
    expected[1] = expected[2] = whole[3]
    expected[-1] = whole[0]
    assert paths(dataset, 0) == expected
    assert paths(dataset, 2) == expected  # workers change nothing
    lines = bad_images.read_text().splitlines()
    # Each time: index 1 meets 1 and 2, index 2 meets 2.
    assert sorted(line.split(": ")[0] for line in lines) == sorted(
        2 * [whole[1], whole[2], whole[2], whole[-1]]
    )
    assert all("truncated" in line for line in lines)
    heading, *listed = summary(bad_images)
    assert heading == f"3 bad images, others took their place 8 times; see {bad_images}:"
    assert len(listed) == 3
    assert any(line.startswith(f"  {whole[2]}: ") and line.endswith("(4 times)") for line in listed)


def test_all_images_bad_is_an_end(data, tmp_path):
    bad_images = tmp_path / "bad_images.txt"
    dataset = open_set(SHAPES, data, bad_images)
    shutil.rmtree(data / "train2017")
    with pytest.raises(DataError, match=f"{IN_A_ROW} images in a row cannot be used, see "):
        dataset[0]


def test_wrapped_sets_are_guarded(data):
    cfg = load_config(arguments(SHAPES, data, f"data_root={data}/"))
    init_default_scope(cfg.default_scope)
    inner = cfg.train_dataloader.dataset
    joined = dict(type="ConcatDataset", datasets=[inner, inner])
    dataset = DATASETS.build(dict(type="RepeatDataset", times=2, dataset=joined))
    guard(dataset, None)
    shutil.rmtree(data / "train2017")
    for index in (0, len(dataset) - 1):
        with pytest.raises(DataError, match="does not exist"):
            dataset[index]


# Unusual images.


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_unusual_images_are_read_as_documented(backend, tmp_path):
    files = unusual(tmp_path / "images" / "a", (30, 20))
    init_default_scope("mmpretrain")
    load = dict(type="LoadImageFromFile", imdecode_backend=backend)
    dataset = DATASETS.build(
        dict(
            type="CustomDataset",
            data_root=str(tmp_path),
            data_prefix="images",
            pipeline=[load, dict(type="PackInputs")],
        )
    )
    guard(dataset, None)
    read = {Path(item["data_samples"].img_path).name: item["inputs"].numpy() for item in dataset}
    assert set(read) == set(files)
    assert {image.shape for image in read.values()} == {(3, 20, 30)}
    colours = read["rgb.png"].astype(int)
    grey = np.repeat(np.asarray(Image.open(files["grey.png"]))[None], 3, 0).astype(int)
    for name, tolerance in {"alpha.png": 0, "turned.png": 0, "rgb16.png": 0}.items():
        assert np.abs(read[name] - colours).max() <= tolerance, name
    assert np.abs(read["grey.png"] - grey).max() == 0
    assert np.abs(read["grey16.png"] - grey).max() <= 1
    assert np.abs(read["bits.png"].astype(int) - 255 * (grey > 127)).max() == 0
    # Smooth pictures: JPEG and a palette change them a little.
    assert np.abs(read["cmyk.jpg"] - colours).mean() < 4
    assert np.abs(read["palette.png"] - colours).mean() < 20
