"""Each thing that can be wrong with label maps, on folders of a few small images."""

from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from PIL import Image

from lsnet_mm.check.semantic import SemanticContents
from tests.check.test_run import cut, run

SIZE = (30, 20)  # width and height
CONFIG = """
default_scope = "mmseg"
data_root = {root!r}
def loader(split, **others):
    dataset = dict(type="BaseSegDataset", data_root=data_root, reduce_zero_label={reduce},
                   metainfo=dict(classes=("a", "b", "c")),
                   data_prefix=dict(img_path="images/" + split, seg_map_path="labels/" + split))
    return dict(dataset=dict(dataset, **others))
train_dataloader = loader("train")
val_dataloader = test_dataloader = loader("val")
"""


@pytest.fixture(params=[False, True], ids=["all_labels", "zero_ignored"])
def reduce(request) -> bool:
    """Whether label 0 is to be ignored."""
    return request.param


@pytest.fixture
def data(reduce, tmp_path) -> Path:
    """Noise and its label maps: of labels 0 to 2 and 255, or of 0 to 3 and 255."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{i}.jpg")
            labels = random.choice([0, 1, 2, 3 if reduce else 0, 255], SIZE[::-1])
            write_map(labels, tmp_path / "labels" / split / f"{i}.png")
    (tmp_path / "config.py").write_text(CONFIG.format(root=str(tmp_path), reduce=reduce))
    return tmp_path


def write_map(labels: np.ndarray, path: Path) -> None:
    Image.fromarray(labels.astype(np.uint8)).save(path)


def read_map(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def run_on(data: Path, *options: str, **others) -> tuple[bool, list]:
    return run(str(data / "config.py"), data / "work", *options, **others)


def test_healthy_set_passes_and_is_described(data, reduce, capsys):
    assert run_on(data) == (True, [])
    shown = capsys.readouterr().out
    labels = np.stack([read_map(path) for path in (data / "labels/train").iterdir()])
    ignored = np.isin(labels, (0, 255) if reduce else 255)
    a = (labels == int(reduce)).sum() / (~ignored).sum()
    assert "  4 images: width 30, height 20, aspect ratio 1.5\n" in shown
    assert f"  {100 * ignored.mean():.1f} % of the pixels are ignored\n" in shown
    assert f"\n  {'a':32}{100 * a:14.2f}{4:14}\n" in shown
    assert "all is well: 6 images looked at, warnings: 0" in shown


def test_grid_shows_label_maps_and_a_legend(data, reduce):
    run_on(data)
    with Image.open(data / "work/dataset_val.jpg") as grid:
        pixels = np.asarray(grid)
    for path in (data / "labels/val").iterdir():
        write_map(np.full(SIZE[::-1], int(reduce)), path)  # one class only
    run_on(data)
    with Image.open(data / "work/dataset_val.jpg") as grid:
        assert grid.size == pixels.shape[1::-1]
        assert np.abs(np.asarray(grid).astype(int) - pixels).max() > 60
        legend = np.asarray(grid)[-12]
    assert (legend < 200).any(1).sum() < (pixels[-12] < 200).any(1).sum()


def test_thumbnail_blends_the_label_map_and_leaves_ignored_pixels(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (240, 180), (100, 100, 100)).save(tmp_path / "images/a.png")
    labels = np.full((180, 240), 255)
    labels[:, :120] = 1
    write_map(labels, tmp_path / "labels/a.png")
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images", seg_map_path="labels"),
        img_suffix=".png",
        metainfo=dict(classes=("a", "b"), palette=[[0, 0, 0], [200, 0, 0]]),
        lazy_init=True,
    )
    image, caption, shown = SemanticContents(dataset, 0).thumbnail(0)
    assert (caption, shown) == ("a.png", {1})
    assert np.abs(np.subtract(image.getpixel((60, 90)), (150, 50, 50))).max() <= 1
    assert image.getpixel((180, 90)) == (100, 100, 100)


def test_palette_images_are_label_maps(data):
    path = data / "labels/train/1.png"
    labels = Image.fromarray(read_map(path))
    labels.putpalette([*range(256)] * 3)
    labels.save(path)
    assert Image.open(path).mode == "P"
    assert run_on(data) == (True, [])


def other_size(path: Path) -> None:
    write_map(read_map(path)[:, :-1], path)


def colour(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


def out_of_range(path: Path) -> None:
    labels = read_map(path)
    labels[3, 4:6] = 4
    write_map(labels, path)


def sixteen_bits(path: Path) -> None:
    labels = read_map(path).astype(np.uint16)
    labels[3, 4] = 300
    Image.fromarray(labels).save(path)


OUT_OF_RANGE = "label maps with values out of range"


@pytest.mark.parametrize(
    ("damage", "kind", "what"),
    [
        (cut, "files that do not decode", ""),
        (other_size, "label maps of another size", "is 29x20, its image 30x20"),
        (colour, "label maps that are not of one channel", "has 3 channels (RGB)"),
        (out_of_range, OUT_OF_RANGE, "4 in 2 pixels; there may be "),
        (sixteen_bits, OUT_OF_RANGE, "over 255 in 1 pixels; there may be "),
        (lambda path: path.rename(path.with_name("x.png")), "label maps without an image", ""),
    ],
)
def test_damaged_label_map_is_named(damage, kind, what, data):
    path = data / "labels/train/2.png"
    damage(path)
    fine, problems = run_on(data)
    assert not fine
    errors = {tuple(problem[:3]): problem[3] for problem in problems}
    named = path.with_name("x.png") if kind == "label maps without an image" else path
    assert what in errors["error", kind, str(named)]
    if not path.exists():
        image = str(data / "images/train/2.jpg")
        assert f"{path} does not exist" in errors.pop(
            ("error", "images without a label map", image)
        )
    assert len(errors) == 1


def test_range_depends_on_whether_zero_is_ignored(data, reduce):
    path = data / "labels/val/0.png"
    write_map(np.full(SIZE[::-1], 3), path)
    fine, problems = run_on(data)
    assert fine is reduce
    if not reduce:
        assert problems[0][3] == "3 in 600 pixels; there may be 0 to 2, and 255 to ignore"


def test_pairing_is_checked_in_a_sample_too(data):
    (data / "labels/train/1.png").unlink()  # the sample is images 0 and 3
    (data / "images/train/2.jpg").unlink()
    fine, problems = run_on(data, sample=2)
    assert not fine
    assert [problem[1] for problem in problems] == [
        "images without a label map",
        "label maps without an image",
    ]


def test_damaged_image_does_not_hide_its_label_map(data):
    cut(data / "images/train/2.jpg")
    out_of_range(data / "labels/train/2.png")
    _, problems = run_on(data)
    assert [problem[1] for problem in problems] == ["files that do not decode", OUT_OF_RANGE]


def test_split_file_names_the_images(data):
    (data / "split.txt").write_text("0\n2\n5\n")
    cut(data / "images/train/1.jpg")  # not in the split
    fine, problems = run_on(data, "train_dataloader.dataset.ann_file=split.txt")
    assert not fine
    image = str(data / "images/train/5.jpg")
    assert [problem[1:3] for problem in problems] == [
        ["images without a label map", image],
        ["files that are missing", image],
    ]


def test_images_without_label_maps_may_be_tested(data, capsys):
    config = data / "config.py"
    prefix = "data_prefix=dict(img_path='images/val')"
    config.write_text(config.read_text() + f"test_dataloader = loader('val', {prefix})\n")
    assert run_on(data) == (True, [])
    assert "no label maps" in capsys.readouterr().out


def test_classes_left_out_are_ignored(data, reduce, capsys):
    """ADE20K's label maps with some of its classes: mmseg renumbers them."""
    config = data / "config.py"
    text = config.read_text().replace("BaseSegDataset", "ADE20KDataset")
    text = text.replace('("a", "b", "c")', '("wall", "sky")')
    config.write_text(text.replace("reduce_zero_label=False", "reduce_zero_label=True"))
    for path in (data / "labels").rglob("*.png"):
        write_map(np.repeat([[0, 1, 2, 3, 150, 255]], 20, 0).repeat(5, 1), path)
    assert run_on(data) == (True, [])
    shown = capsys.readouterr().out
    assert "66.7 % of the pixels are ignored" in shown  # 0, building (2), flag (150) and 255
    assert f"\n  {'sky':32}{50:14.2f}{4:14}\n" in shown
    write_map(np.full(SIZE[::-1], 151), data / "labels/train/0.png")
    fine, [problem] = run_on(data)
    assert not fine
    assert problem[3] == "151 in 600 pixels; there may be 1 to 150, and 0, 255 to ignore"
