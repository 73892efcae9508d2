import numpy as np
import pytest
from mmengine.dataset import Compose
from mmseg.datasets import ADE20KDataset, BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from lsnet_mm.datasets import ade20k_writer
from lsnet_mm.datasets.ade20k_writer import label_pixels, write_ade20k
from lsnet_mm.datasets.shapes import (
    CLASSES,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
    Scene,
    SceneObject,
    make_scene,
)
from tests.datasets.test_make_shapes import SMALL, hashes

SIZE = (160, 120)
COUNTS = {"train": 24, "val": 5}
ROOT = "ADEChallengeData2016"
FOLDERS = {"train": "training", "val": "validation"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("ade20k")
    write_ade20k(out_dir, COUNTS, SIZE, seed=0)
    return out_dir


def expected_labels(scene):
    """By comparing each pixel with its four neighbours, one after the other."""
    labels = np.ones(scene.image.shape[:2], int)
    for item in scene.objects:
        labels[item.mask] = 2 + item.label
    padded = np.pad(labels, 1, mode="edge")
    neighbours = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    return np.where(np.any(neighbours != labels, axis=0), 0, labels)


def pairs(split):
    """Names of the split's images and label maps, in order."""
    names = [f"ADE_{split}_{i:08d}" for i in range(1, COUNTS[split] + 1)]
    return [
        (
            f"{ROOT}/images/{FOLDERS[split]}/{name}.jpg",
            f"{ROOT}/annotations/{FOLDERS[split]}/{name}.png",
        )
        for name in names
    ]


def test_the_files_are_those_of_ade20k(folder):
    names = {name for split in COUNTS for pair in pairs(split) for name in pair}
    assert set(hashes(folder)) == names | {"shapes.json"}


@pytest.mark.parametrize("split", COUNTS)
def test_images_and_label_maps_are_those_of_the_scenes(folder, split):
    seen, ignored = set(), []
    for index, names in enumerate(pairs(split)):
        scene = make_scene(SIZE, 0, split, index)
        image, labels = (Image.open(folder / name) for name in names)
        assert (image.mode, labels.mode) == ("RGB", "L")
        assert image.size == labels.size == SIZE
        assert np.abs(np.asarray(image).astype(int) - scene.image).mean() < 8
        assert (np.asarray(labels) == expected_labels(scene)).all()
        seen |= {*np.unique(labels).tolist()}
        ignored.append((np.asarray(labels) == 0).mean())
    assert seen <= set(range(len(SEGMENTATION_CLASSES) + 1))
    assert 0 < np.mean(ignored) < 0.1
    if split == "train":
        assert len(seen) == len(SEGMENTATION_CLASSES) + 1


def test_the_labels_of_a_known_scene():
    masks = np.zeros((2, 5, 6), bool)
    masks[0, :, 3:] = masks[1, :2, :3] = True
    scene = Scene(
        np.zeros((5, 6, 3), np.uint8),
        [SceneObject(4, masks[0], False), SceneObject(0, masks[1], True)],
    )
    labels = label_pixels(scene)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [
        [2, 2, 0, 0, 6, 6],
        [0, 0, 0, 0, 6, 6],
        [0, 0, 0, 0, 6, 6],
        [1, 1, 0, 0, 6, 6],
        [1, 1, 0, 0, 6, 6],
    ]


def test_equal_arguments_give_equal_bytes_and_others_do_not(folder, tmp_path):
    write_ade20k(tmp_path / "same", COUNTS, SIZE, seed=0)
    write_ade20k(tmp_path / "fewer", {**COUNTS, "train": 2}, SIZE, seed=0)
    write_ade20k(tmp_path / "other", SMALL, SIZE, seed=1)
    before = hashes(folder)
    assert hashes(tmp_path / "same") == before
    fewer = hashes(tmp_path / "fewer")
    fewer.pop("shapes.json")
    assert fewer.items() <= before.items()
    images = [digest for name, digest in before.items() if name.endswith(".jpg")]
    others = [
        digest for name, digest in hashes(tmp_path / "other").items() if name.endswith(".jpg")
    ]
    assert len({*images, *others}) == sum(COUNTS.values()) + sum(SMALL.values())


def test_an_image_that_is_there_has_its_labels(tmp_path, monkeypatch):
    """Label maps are written before their images, and removed after them."""
    write_ade20k(tmp_path, SMALL, (32, 32), seed=0)
    seen = []
    monkeypatch.setattr(ade20k_writer, "write_image", lambda path, _: seen.append(path.suffix))
    ade20k_writer._write_scene(tmp_path, "train", (32, 32), 0, 0)
    assert seen == [".png", ".jpg"]
    seen.clear()
    unlink = ade20k_writer.Path.unlink
    monkeypatch.setattr(
        ade20k_writer.Path, "unlink", lambda path: (seen.append(path.suffix), unlink(path))
    )
    write_ade20k(tmp_path, {"train": 0, "val": 0}, (32, 32), seed=0)
    assert seen == [".jpg"] * 5 + [".png"] * 5


@pytest.mark.parametrize("own_classes", [False, True])
def test_mmseg_loads_it_unmodified(folder, own_classes):
    """As ADE20K, of 150 classes, and with the shapes' own classes."""
    metainfo = {"classes": SEGMENTATION_CLASSES, "palette": SEGMENTATION_PALETTE}
    kind, options = ADE20KDataset, {}
    if own_classes:
        options = {"metainfo": metainfo, "reduce_zero_label": True}
        kind, options["seg_map_suffix"] = BaseSegDataset, ".png"
    for split, name in FOLDERS.items():
        dataset = kind(
            data_root=str(folder / ROOT),
            data_prefix={"img_path": f"images/{name}", "seg_map_path": f"annotations/{name}"},
            pipeline=[],
            **options,
        )
        assert len(dataset) == COUNTS[split]
        load = Compose([LoadAnnotations()])
        for index, entry in enumerate(dataset):
            scene = make_scene(SIZE, 0, split, index)
            assert entry["img_path"] == str(folder / pairs(split)[index][0])
            labels = load(entry)["gt_seg_map"]
            inside = labels != 255  # mmseg's label of what is ignored
            assert (inside == (expected_labels(scene) > 0)).all()
            assert (labels[inside] == scene.label_map()[inside]).all()
    if own_classes:
        assert dataset.metainfo["classes"] == ("background", *CLASSES)
        assert dataset.metainfo["palette"] == SEGMENTATION_PALETTE
