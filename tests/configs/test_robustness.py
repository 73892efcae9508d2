"""The robustness configs: what they test on what images, and whole runs of them."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import DATASETS, METRICS, MODELS
from PIL import Image
from timm.data import ImageNetInfo
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from lsnet_mm.errors import CheckpointError, InputError
from lsnet_mm.evaluation.robustness import ALEXNET_ERRORS
from tests.configs.recipes import CHANNELS, read
from tests.conftest import ROOT
from tests.engine.test_run import arguments, run_test

SETS = ("c", "a", "r", "sketch")
CLASSES = ["cross", "star"]
TEST_PARTS = {"data_root", "test_dataloader", "test_evaluator", "tta_pipeline"}
HELPERS = {"load", "crop", "pack", "flips"}  # variables of the config files
DISTILLED = "model.head.distillation.kind=hard"


@pytest.mark.parametrize("arch", CHANNELS)
@pytest.mark.parametrize("name", SETS)
def test_only_what_is_tested_differs_from_the_training_config(name, arch):
    cfg, base = read(f"lsnet_{arch}_imagenet_{name}"), read(f"lsnet_{arch}_imagenet")
    own, training = (
        {k: v for k, v in c.items() if k not in TEST_PARTS | HELPERS} for c in (cfg, base)
    )
    assert own == training
    loader, theirs = dict(cfg.test_dataloader), dict(base.test_dataloader)
    dataset = loader.pop("dataset")
    theirs.pop("dataset")
    assert loader == theirs
    assert dataset.data_root == cfg.data_root == f"data/imagenet-{name}/"
    model = MODELS.build(cfg.model)
    assert model.backbone.out_channels[-1] == CHANNELS[arch][-1]
    assert model.head.num_classes == 1000


@pytest.mark.parametrize(
    ("name", "dataset", "subset", "metric"),
    [
        ("c", "ImageNetC", 1000, "MeanCorruptionError"),
        ("a", "ImageNetVariant", 200, "SubsetAccuracy"),
        ("r", "ImageNetVariant", 200, "SubsetAccuracy"),
        ("sketch", "ImageNetVariant", 1000, "Accuracy"),
    ],
)
def test_data_sets_and_metrics(name, dataset, subset, metric):
    cfg = read(f"lsnet_t_imagenet_{name}")
    built = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    assert type(built).__name__ == dataset
    assert len(built.metainfo["subset"]) == subset
    assert len(built.metainfo["classes"]) == 1000
    assert type(METRICS.build(cfg.test_evaluator)).__name__ == metric
    if name == "c":
        assert built.groups == [f"{c}/{s}" for c in ALEXNET_ERRORS for s in range(1, 6)]


def photo(path: Path, size: tuple[int, int], mode: str = "RGB", **options) -> Path:
    random = np.random.default_rng(sum(size))
    coarse = Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90, **options)
    return path


def turned() -> Image.Exif:
    """Says that the camera was held sideways; torchvision takes no notice."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((224, 224), {}),
        ((500, 375), {}),
        ((333, 501), {}),
        ((257, 400), dict(mode="L")),
        ((301, 225), dict(mode="CMYK")),
        ((320, 261), dict(exif=turned())),
    ],
)
def test_images_equal_torchvisions_pixel_for_pixel(size, options, name, tta, tmp_path):
    path = photo(tmp_path / "x.jpg", size, **options)
    resize = transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC)
    published = (
        [transforms.CenterCrop(224)] if name == "c" else [resize, transforms.CenterCrop(224)]
    )
    want = pil_to_tensor(transforms.Compose(published)(Image.open(path).convert("RGB")))
    cfg = read(f"lsnet_t_imagenet_{name}")
    pipeline = Compose(cfg.tta_pipeline if tta else cfg.test_dataloader.dataset.pipeline)
    sample = pipeline(dict(img_path=str(path), gt_label=3, corruption="fog", severity=2))
    images = sample["inputs"] if tta else [sample["inputs"]]
    views = [want, want.flip(2)] if tta else [want]
    assert len(images) == len(views)
    for image, view in zip(images, views, strict=True):
        assert torch.equal(image.flip(0), view)
    data_samples = sample["data_samples"] if tta else [sample["data_samples"]]
    if name == "c":
        assert {(s.corruption, s.severity) for s in data_samples} == {("fog", 2)}


# Whole runs, by networks small enough to say beforehand what they should come to.


SMALL = (
    f"test_dataloader.dataset.metainfo.classes=[{','.join(CLASSES)}]",
    f"model.head.num_classes={len(CLASSES)}",
    f"model.data_preprocessor.num_classes={len(CLASSES)}",
)


def tiny(name: str, folder: Path) -> str:
    """Config ``lsnet_t_NAME`` with a tiny network, and images loaded in this process."""
    path = folder / f"{name}.py"
    path.write_text(
        f"_base_ = {str(ROOT / f'configs/lsnet_t_{name}.py')!r}\n"
        "arch = dict(_delete_=True, channels=(8, 8, 16, 16), depths=(0, 1, 1, 2))\n"
        "model = dict(backbone=dict(arch=arch), head=dict(in_channels=16))\n"
        "test_dataloader = dict(num_workers=0, persistent_workers=False, batch_size=32)\n"
    )
    return str(path)


def make_network(config: str, num_classes: int, images: torch.Tensor) -> torch.nn.Module:
    """A random network that answers differently, as its statistics are those of the images."""
    cfg = Config.fromfile(config)
    cfg.model.head.num_classes = num_classes
    model = MODELS.build(cfg.model)
    for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().head(model.extract_feat(images))
    return model.eval()


def save(model: torch.nn.Module, folder: Path) -> dict[str, str]:
    """The argument that names the checkpoint."""
    torch.save(dict(state_dict=model.state_dict()), folder / "x.pth")
    return dict(checkpoint=str(folder / "x.pth"))


def as_published(paths: list[Path], resize: bool) -> torch.Tensor:
    """Images as networks take them, by torchvision."""
    steps = [
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    if resize:
        steps.insert(0, transforms.Resize(256, transforms.InterpolationMode.BICUBIC))
    load = transforms.Compose(steps)
    return torch.stack([load(Image.open(path).convert("RGB")) for path in paths])


@torch.no_grad()
def scores(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.head(model.extract_feat(images)).softmax(1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    return [photo(folder / f"{i}.jpg", (224 + 2 * i, 230 + i)) for i in range(24)]


@pytest.fixture(scope="module")
def corrupted(photos, tmp_path_factory) -> tuple[Path, list[tuple[str, str, int, int]]]:
    """ImageNet-C's layout: its root, and corruption, severity, label and photo of every image."""
    root = tmp_path_factory.mktemp("data") / "imagenet-c"
    random = np.random.default_rng(0)
    images = []
    for group in (f"{c}/{s}" for c in ALEXNET_ERRORS for s in range(1, 6)):
        for label, folder in enumerate(CLASSES):
            (root / group / folder).mkdir(parents=True)
            for i in random.choice(len(photos), random.integers(1, 3), replace=False):
                (root / group / folder / f"{i}.JPEG").symlink_to(photos[i])
                images.append((*group.split("/"), label, int(i)))
    return root, images


def expected(images: list[tuple[str, str, int, int]], answers: list[int]) -> dict[str, float]:
    """ImageNet-C's metrics, from the answers to the photos."""
    wrong = {}
    for name, severity, label, i in images:
        wrong.setdefault(name, {}).setdefault(severity, []).append(answers[i] != label)
    errors = {c: np.mean([np.mean(part) for part in wrong[c].values()]) for c in ALEXNET_ERRORS}
    ce = {c: 100 * errors[c] / ALEXNET_ERRORS[c] for c in errors}
    metrics = {
        "top1": 100 - 100 * np.mean(list(errors.values())),
        "mCE": np.mean(list(ce.values())),
    }
    metrics.update({f"{c}_ce": ce[c] for c in errors})
    metrics.update({f"{c}_top1": 100 - 100 * errors[c] for c in errors})
    return {f"imagenet-c/{key}": pytest.approx(value) for key, value in metrics.items()}


def test_imagenet_c_from_files_to_metrics(photos, corrupted, tmp_path):
    root, images = corrupted
    inputs = as_published(photos, resize=False)
    model = make_network(tiny("imagenet", tmp_path), len(CLASSES), inputs)
    checkpoint = save(model, tmp_path)
    answers = scores(model, inputs).argmax(1).tolist()
    assert set(answers) == {0, 1}
    config, work = tiny("imagenet_c", tmp_path), tmp_path / "work"
    want = expected(images, answers)
    assert run_test(arguments(config, work, f"data_root={root}", *SMALL, **checkpoint)) == want
    table = next(work.glob("*/*.log")).read_text().partition("top-1 at severity")[2]
    rows = {row[0]: row[1:] for row in map(str.split, table.splitlines()[1:17])}
    assert list(rows) == [*ALEXNET_ERRORS, "mean"]
    assert float(rows["fog"][6]) == pytest.approx(want["imagenet-c/fog_ce"].expected, abs=0.005)
    assert float(rows["mean"][6]) == pytest.approx(want["imagenet-c/mCE"].expected, abs=0.005)


def test_part_of_imagenet_c_with_distilled_weights_and_mirror_images(photos, corrupted, tmp_path):
    root, images = corrupted
    inputs = as_published(photos, resize=False)
    model = make_network(tiny("distill_imagenet", tmp_path), len(CLASSES), inputs)
    single = scores(model, inputs)
    both = single + scores(model, inputs.flip(3))
    assert not torch.equal(single.argmax(1), both.argmax(1))
    names = ("fog", "snow", "frost", "contrast")
    choice = [
        f"test_dataloader.dataset.corruptions=[{','.join(names)}]",
        "test_dataloader.dataset.severities=2",
    ]
    config, work = tiny("imagenet_c", tmp_path), tmp_path / "work"
    options = [f"data_root={root}", *choice, *SMALL]
    args = arguments(config, work, *options, tta=True, **save(model, tmp_path))
    with pytest.raises(CheckpointError, match="tensors not part of the model"):
        run_test(args)
    args.cfg_options.append(DISTILLED)
    metrics = run_test(args)
    for name in names:
        part = [(label, i) for c, s, label, i in images if (c, s) == (name, "2")]
        right = np.mean([both[i].argmax() == label for label, i in part])
        assert metrics[f"imagenet-c/{name}_top1"] == pytest.approx(100 * right)
    assert len(metrics) == 2 * len(names) + 2


def test_imagenet_a_from_files_to_accuracy(photos, tmp_path):
    """Photos in the folder of the network's answer, or the next one; one photo in all others."""
    synsets = ImageNetInfo("imagenet-1k").label_names()
    listed = files("timm").joinpath("data/_info/imagenet_a_synsets.txt").read_text().split()
    labels = [synsets.index(synset) for synset in listed]
    inputs = as_published(photos, resize=True)
    model = make_network(tiny("imagenet", tmp_path), 1000, inputs)
    checkpoint = save(model, tmp_path)
    found = scores(model, inputs)
    masked = torch.full_like(found, -1)
    masked[:, labels] = found[:, labels]
    answers = [labels.index(label) for label in masked.argmax(1).tolist()]
    assert (masked.argmax(1) != found.argmax(1)).float().mean() > 0.5
    places = [((answer + i % 2) % 200, i) for i, answer in enumerate(answers)]
    places += [(place, 0) for place in range(200) if place not in {p for p, _ in places}]
    for place, i in places:
        path = tmp_path / "data" / listed[place] / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(photos[i])
    config, work = tiny("imagenet_a", tmp_path), tmp_path / "work"
    options = (f"data_root={tmp_path / 'data'}",)
    metrics = run_test(arguments(config, work, *options, **checkpoint))
    right = np.mean([answers[i] == place for place, i in places])
    assert right > 0.05
    assert metrics == {"accuracy/top1": pytest.approx(100 * right)}


@pytest.mark.parametrize("arch", CHANNELS)
def test_distilled_weights_fit_with_one_option(arch):
    cfg = read(f"lsnet_{arch}_imagenet_c")
    key, value = DISTILLED.split("=")
    cfg.merge_from_dict({key: value})
    own = MODELS.build(cfg.model).state_dict()
    distilled = MODELS.build(read(f"lsnet_{arch}_distill_imagenet").model).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in distilled.items()}
    assert DISTILLED in (ROOT / "configs/lsnet_t_imagenet_c.py").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data_root=none", *SMALL], "data not found:\n  test_dataloader: none/"),
        (SMALL, "lacks snow/4"),
        (["test_dataloader.dataset.corruptions=fog"], "1000 class folders missing"),
        ([SMALL[0], "test_dataloader.dataset.corruptions=fog"], "predicts 1000 classes, but Image"),
        (["test_dataloader.dataset.corruptions=[]"], "corruptions must be some of"),
    ],
)
def test_errors_of_a_run_name_what_is_wrong(options, message, corrupted, tmp_path):
    for group in corrupted[0].glob("*/*"):
        link = tmp_path / "data" / group.relative_to(corrupted[0])
        if link.parts[-2:] != ("snow", "4"):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(group)
    config, work = tiny("imagenet_c", tmp_path), tmp_path / "work"
    checkpoint = save(MODELS.build(Config.fromfile(config).model), tmp_path)
    options = [f"data_root={tmp_path / 'data'}", *options]
    with pytest.raises(InputError) as raised:
        run_test(arguments(config, work, *options, **checkpoint))
    assert message in str(raised.value)
    assert work.exists() != message.startswith("data not found")  # which is told before all else
