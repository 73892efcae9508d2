import cv2
import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset, ImageNet

from lsnet_mm.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lsnet_mm.datasets.imagenet_writer import (
    IMAGENET_SYNSETS,
    imagenet_synsets,
    write_imagenet,
    write_imagenet_c,
)
from lsnet_mm.datasets.shapes import CLASSES, make_object_scene
from tests.datasets.test_make_shapes import hashes

SIZE = (64, 48)
COUNTS = {"train": 30, "val": 9}
LEMMAS = {
    "ellipse": "rugby ball",
    "triangle": "pick, plectrum, plectron",
    "rectangle": "envelope",
    "star": "starfish, sea star",
    "cross": "airliner",
    "ring": "bagel, beigel",
    "crescent": "banana",
}


@pytest.fixture(scope="module", params=[False, True], ids=["shapes", "synsets"])
def synsets(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synsets):
    out_dir = tmp_path_factory.mktemp("imagenet")
    write_imagenet(out_dir, COUNTS, SIZE, 0, synsets)
    return out_dir


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory, synsets):
    out_dir = tmp_path_factory.mktemp("imagenet_c")
    write_imagenet_c(out_dir, COUNTS["val"], SIZE, 0, synsets)
    return out_dir


def read(path):
    return cv2.imread(str(path))[..., ::-1].astype(int)


def folder_of(label, synsets):
    return IMAGENET_SYNSETS[CLASSES[label]] if synsets else CLASSES[label]


def test_every_image_is_of_its_folders_class(folder, synsets):
    for split, count in COUNTS.items():
        files = sorted((folder / split).rglob("*.jpg"), key=lambda path: path.stem[-8:])
        assert len(files) == count
        for index, path in enumerate(files):
            scene = make_object_scene(SIZE, 0, split, index)
            name = folder_of(scene.objects[0].label, synsets)
            assert path == folder / split / name / f"{name}_{index + 1:08d}.jpg"
            pixels = read(path)
            assert pixels.shape == scene.image.shape
            assert np.abs(pixels - scene.image).mean() < 8


def test_folders_are_those_of_the_classes_and_classes_are_balanced(folder, synsets):
    for split, count in COUNTS.items():
        names = {path.name: len(list(path.iterdir())) for path in (folder / split).iterdir()}
        assert len(names) == (1000 if synsets else len(CLASSES))
        filled = {name for name, files in names.items() if files}
        assert filled == {folder_of(label, synsets) for label in range(len(CLASSES))}
        each = [names[name] for name in filled]
        assert sum(each) == count
        assert max(each) - min(each) <= 1


def test_mmpretrain_loads_it_unmodified(folder, synsets):
    """With ImageNet's labels, or else those of the folders in the order of their names."""
    for split, count in COUNTS.items():
        if synsets:
            dataset = ImageNet(data_root=str(folder), split=split)
            expected = LEMMAS
        else:
            dataset = CustomDataset(data_root=str(folder), data_prefix=split)
            expected = {name: name for name in CLASSES}
            assert list(dataset.CLASSES) == sorted(CLASSES)
        assert len(dataset) == count
        for entry in map(dataset.get_data_info, range(count)):
            index = int(entry["img_path"][-12:-4]) - 1
            name = CLASSES[index % len(CLASSES)]
            assert dataset.CLASSES[entry["gt_label"]] == expected[name]


def test_the_corruptions_are_those_of_the_validation_images(folder, corrupted, synsets):
    clean = {path.name: path for path in (folder / "val").rglob("*.jpg")}
    assert {path.name for path in corrupted.iterdir()} == {*CORRUPTIONS, "shapes.json"}
    for order, name in enumerate(CORRUPTIONS):
        assert {path.name for path in (corrupted / name).iterdir()} == set("12345")
        for severity in SEVERITIES:
            part = corrupted / name / str(severity)
            assert {path.name for path in part.iterdir()} == {
                folder_of(label, synsets) for label in range(len(CLASSES))
            }
            found = {path.name: path for path in part.rglob("*.jpg")}
            assert set(found) == set(clean)
            for file, path in found.items():
                assert path.parent.name == clean[file].parent.name
            index = int(file[-12:-4]) - 1
            image = make_object_scene(SIZE, 0, "val", index).image
            damaged = corrupt(image, name, severity, np.random.default_rng((0, index, order)))
            _, data = cv2.imencode(".jpg", damaged[..., ::-1])
            assert (read(path) == cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]).all()


def test_mmpretrain_loads_corrupted_images(corrupted):
    dataset = CustomDataset(data_root=str(corrupted), data_prefix="fog/3")
    assert len(dataset) == COUNTS["val"]
    assert len(dataset.CLASSES) == len(CLASSES)


@pytest.mark.parametrize("synsets", [False], indirect=True)
def test_equal_arguments_give_equal_bytes_and_others_do_not(folder, corrupted, synsets, tmp_path):
    write_imagenet(tmp_path / "same", COUNTS, SIZE, 0, synsets)
    write_imagenet(tmp_path / "other", COUNTS, SIZE, 1, synsets)
    write_imagenet_c(tmp_path / "same_c", COUNTS["val"], SIZE, 0, synsets)
    write_imagenet_c(tmp_path / "other_c", COUNTS["val"], SIZE, 1, synsets)
    for before, same, other in [(folder, "same", "other"), (corrupted, "same_c", "other_c")]:
        before, same, other = map(hashes, (before, tmp_path / same, tmp_path / other))
        assert same == before
        assert set(other) == set(before)
        assert len({*before.values(), *other.values()}) == 2 * len(before)


def test_splits_and_counts_do_not_depend_on_each_other(folder, synsets, tmp_path):
    write_imagenet(tmp_path, {"train": 4, "val": 3}, SIZE, 0, synsets)
    fewer = hashes(tmp_path)
    fewer.pop("shapes.json")
    assert len(fewer) == 7
    assert fewer.items() <= hashes(folder).items()


def test_the_synsets_are_imagenets(synsets):
    names = imagenet_synsets()
    assert len(names) == len(set(names)) == 1000
    assert names == sorted(names)
    for shape, synset in IMAGENET_SYNSETS.items():
        assert ImageNet.METAINFO["classes"][names.index(synset)] == LEMMAS[shape]
