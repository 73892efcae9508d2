"""The ImageNet configs against the published recipe, on what is built from them."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from timm.scheduler import CosineLRScheduler
from torch import nn
from torchvision import transforms

from tests import golden
from tests.configs.recipes import CHANNELS, learning_rates, parameter_groups, read

PARAMETERS = {"t": 11_409_832, "s": 16_146_304, "b": 23_313_608}
PARAMETERS_DISTILLED = {"t": 11_795_600, "s": 16_596_200, "b": 23_827_632}


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """LSNet-T as its config has it."""
    return MODELS.build(read("lsnet_t_imagenet").model)


@pytest.mark.parametrize("arch", CHANNELS)
def test_networks_have_the_published_sizes_and_keys(arch):
    for name, count in (
        (f"lsnet_{arch}", PARAMETERS),
        (f"lsnet_{arch}_distill", PARAMETERS_DISTILLED),
    ):
        model = MODELS.build(read(f"{name}_imagenet").model)
        assert sum(p.numel() for p in model.parameters()) == count[arch]
        published = golden.state_dict_shapes()[f"classifier_{name}"]
        own = {
            k.removeprefix("backbone.").replace("head.head", "head").replace(".linear.", ".l."): v
            for k, v in model.state_dict().items()
        }
        assert {k: list(v.shape) for k, v in own.items()} == published


@pytest.mark.parametrize(("arch", "decay"), [("t", 0.025), ("s", 0.025), ("b", 0.05)])
@pytest.mark.parametrize("kind", ["", "_distill"])
def test_optimizer(arch, decay, kind):
    cfg = read(f"lsnet_{arch}{kind}_imagenet")
    model = MODELS.build(cfg.model)
    assert cfg.optim_wrapper.type == "OptimWrapper"  # no mixed precision
    assert cfg.optim_wrapper.optimizer.type == "AdamW"
    groups = parameter_groups(cfg, model)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        free = parameter.ndim == 1 or name.endswith(".bias") or "attention_biases" in name
        assert groups[name]["weight_decay"] == (0 if free else decay), name
        assert groups[name]["lr"] == 1e-3 * 2048 / 512
        assert (groups[name]["betas"], groups[name]["eps"]) == ((0.9, 0.999), 1e-8)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=2048)
    assert dict(type="AdaptiveClipHook", factor=0.02) in cfg.custom_hooks
    assert not any("EMA" in hook.type for hook in cfg.custom_hooks)


def test_learning_rate_is_that_of_timms_schedule_and_of_the_published_log():
    cfg = read("lsnet_t_imagenet")
    rates = learning_rates(cfg, 310)
    assert (cfg.train_cfg.max_epochs, len(cfg.param_scheduler)) == (310, 2)
    assert all(s.get("by_epoch", True) for s in cfg.param_scheduler)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=4e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=300, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6, cycle_limit=1
    )
    want = [theirs._get_lr(epoch)[0] for epoch in range(310)]
    # Ours also follows the cosine while it warms up: a difference of less than 0.1%.
    np.testing.assert_allclose(rates[:5], want[:5], rtol=1e-3)
    np.testing.assert_allclose(rates[5:], want[5:], rtol=1e-5)
    logged = {5: 3.997265921835383e-3, 297: 1.0984412070365348e-5, 298: 1.0437536467683126e-5}
    for epoch, rate in logged.items():
        assert rates[epoch] == pytest.approx(rate, rel=1e-5)
    assert rates[300:] == pytest.approx([1e-5] * 10)  # cool-down


def test_training_images(tmp_path):
    cfg = read("lsnet_t_imagenet")
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert list(steps) == [
        "LoadImageFromFile",
        "RandomResizedCrop",
        "RandomFlip",
        "RandAugment",
        "RandomErasing",
        "PackInputs",
    ]
    crop = steps["RandomResizedCrop"]
    assert (crop.scale, crop.backend, crop.interpolation) == (224, "pillow", "bicubic")
    assert steps["RandomFlip"].prob == 0.5
    augment = steps["RandAugment"]
    assert augment.policies == "timm_increasing"
    assert (augment.num_policies, augment.magnitude_level, augment.total_level) == (2, 9, 10)
    assert augment.magnitude_std == 0.5
    erase = steps["RandomErasing"]
    assert (erase.erase_prob, erase.mode) == (0.25, "rand")
    assert (erase.min_area_ratio, erase.max_area_ratio) == (0.02, 1 / 3)
    Image.fromarray(np.full((300, 400, 3), 200, np.uint8)).save(tmp_path / "x.jpg")
    sample = Compose(cfg.train_dataloader.dataset.pipeline)(
        dict(img_path=str(tmp_path / "x.jpg"), gt_label=3)
    )
    assert sample["inputs"].shape == (3, 224, 224)
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.drop_last) == (256, True)
    assert loader.sampler == dict(type="RepeatAugSampler", shuffle=True, num_repeats=3)


@pytest.mark.parametrize(
    "size", [(500, 375), (333, 501), (257, 400), (301, 256), (225, 224), (100, 80), (64, 999)]
)
def test_test_images_equal_torchvisions(size, tmp_path, classifier):
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned, which torchvision takes no notice of
    coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=90, exif=exif)
    sample = Compose(read("lsnet_t_imagenet").test_dataloader.dataset.pipeline)(
        dict(img_path=str(tmp_path / "x.jpg"), gt_label=0)
    )
    data = classifier.data_preprocessor(
        dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]]), False
    )
    published = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    want = published(Image.open(tmp_path / "x.jpg").convert("RGB"))
    torch.testing.assert_close(data["inputs"][0], want, rtol=0, atol=1e-5)


def test_batches_are_mixed_up_or_cut_and_labels_smoothed(classifier):
    augments = classifier.data_preprocessor.batch_augments
    mixup, cutmix, neither = augments.augments
    assert (type(mixup).__name__, mixup.alpha) == ("Mixup", 0.8)
    assert (type(cutmix).__name__, cutmix.alpha) == ("CutMix", 1.0)
    assert neither is None
    assert augments.probs == [0.5, 0.5, 0]
    samples = [DataSample().set_gt_label(i) for i in range(8)]
    images = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    data = classifier.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    mixed = torch.stack([s.gt_score for s in data["data_samples"]])
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    scores = torch.randn(8, 1000)
    smooth = mixed * 0.9 + 0.1 / 1000
    want = -(smooth * scores.log_softmax(1)).sum(1).mean()
    got = classifier.head._get_loss(scores, data["data_samples"])["loss"]
    assert got.item() == pytest.approx(want.item(), rel=1e-5)


def test_distillation_is_hard_from_deits_teacher():
    for arch in CHANNELS:
        model = read(f"lsnet_{arch}_distill_imagenet").model
        assert model.teacher.type == "TimmClassifier"
        assert model.teacher.model_name == "regnety_160.deit_in1k"
        assert model.teacher.pretrained
        assert model.head.distillation == dict(kind="hard", alpha=0.5)


def test_evaluation_is_top_1_and_5_of_every_epoch():
    cfg = read("lsnet_t_imagenet")
    assert cfg.test_evaluator == dict(type="Accuracy", topk=(1, 5))
    assert cfg.train_cfg.val_interval == 1
    assert cfg.default_hooks.checkpoint.save_best == "accuracy/top1"
    assert cfg.test_dataloader.dataset.split == "val"
