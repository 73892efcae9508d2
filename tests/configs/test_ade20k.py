"""The ADE20K configs against the published recipe, on what is built from them."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.configs.recipes import CHANNELS, WEIGHTS, learning_rates, parameter_groups, read
from tests.conftest import ROOT

SEGMENTORS = ("fpn", "upernet")
ALL = [(s, a) for s in SEGMENTORS for a in CHANNELS]


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[Config, nn.Module]]:
    """Config and model by segmentor, for LSNet-T."""
    configs = {name: read(f"{name}_lsnet_t_ade20k") for name in SEGMENTORS}
    return {name: (cfg, MODELS.build(cfg.model)) for name, cfg in configs.items()}


@pytest.mark.parametrize(("segmentor", "arch"), ALL)
def test_backbone_heads_and_weights_belong_together(segmentor, arch):
    cfg = read(f"{segmentor}_lsnet_{arch}_ade20k")
    backbone = cfg.model.backbone
    assert backbone.arch == arch
    assert backbone.init_cfg == dict(type="Pretrained", checkpoint=WEIGHTS.format(arch))
    assert list(MODELS.build(backbone).out_channels) == CHANNELS[arch]
    if segmentor == "fpn":
        assert cfg.model.neck.in_channels == CHANNELS[arch]
    else:
        assert cfg.model.decode_head.in_channels == CHANNELS[arch]
        auxiliary = cfg.model.auxiliary_head
        assert auxiliary.in_channels == CHANNELS[arch][auxiliary.in_index]


@pytest.mark.parametrize(
    ("segmentor", "rate", "decay", "undecayed"),
    [("fpn", 2e-4, 1e-4, ()), ("upernet", 6e-5, 0.01, ("attention_biases", "norm"))],
)
def test_optimizer(segmentor, rate, decay, undecayed, built):
    cfg, model = built[segmentor]
    wrapper = cfg.optim_wrapper
    assert (wrapper.type, wrapper.optimizer.type) == ("OptimWrapper", "AdamW")
    assert not wrapper.get("clip_grad")
    norms = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm | nn.GroupNorm)
        for name, _ in module.named_parameters()
    }
    groups = parameter_groups(cfg, model)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    for name, group in groups.items():
        free = ("norm" in undecayed and name in norms) or any(part in name for part in undecayed)
        assert group["lr"] == rate
        assert group["betas"] == (0.9, 0.999)
        assert group["weight_decay"] == (0 if free else decay), name


def test_semantic_fpn_decays_polynomially_without_warm_up(built):
    cfg, _ = built["fpn"]
    assert cfg.train_cfg == dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=4000)
    rates = learning_rates(cfg, 40000)
    for i in (0, 1, 4000, 20000, 39000):  # mmengine is at the end one step before mmcv 1.x was
        assert rates[i] == pytest.approx((2e-4 - 1e-6) * (1 - i / 39999) ** 0.9 + 1e-6, rel=1e-6)
    assert rates[-1] == pytest.approx(1e-6)


def test_upernet_warms_up_and_decays_linearly(built):
    cfg, _ = built["upernet"]
    assert cfg.train_cfg.max_iters == 160000
    rates = learning_rates(cfg, 160000)
    assert rates[0] == pytest.approx(6e-11)
    assert rates[750] == pytest.approx(3e-5, rel=1e-2)
    assert rates[1500] == pytest.approx(6e-5)
    assert rates[80750] == pytest.approx(3e-5, rel=1e-3)
    assert rates[-1] < 1e-9


@pytest.mark.parametrize(("segmentor", "images"), [("fpn", 4), ("upernet", 2)])
def test_batches_of_eight_gpus(segmentor, images, built):
    cfg, _ = built[segmentor]
    assert cfg.train_dataloader.batch_size == images
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=8 * images)
    assert cfg.train_dataloader.sampler == dict(type="InfiniteSampler", shuffle=True)
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval


@pytest.mark.parametrize("segmentor", SEGMENTORS)
def test_training_freezes_statistics_of_the_backbone_alone(segmentor, built):
    model = built[segmentor][1].train()
    frozen = {n for n, m in model.named_modules() if isinstance(m, _BatchNorm) and not m.training}
    assert frozen == {
        n
        for n, m in model.named_modules()
        if isinstance(m, _BatchNorm) and n.startswith("backbone.")
    }
    heads = [m for m in model.decode_head.modules() if isinstance(m, _BatchNorm)]
    assert heads
    assert {type(m).__name__ for m in heads} == {"SyncBatchNorm"}


@torch.no_grad()
@pytest.mark.parametrize("segmentor", SEGMENTORS)
def test_heads_predict_at_stride_8(segmentor, built):
    model = revert_sync_batchnorm(built[segmentor][1]).eval()
    maps = model.extract_feat(torch.zeros(1, 3, 128, 192))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert model.decode_head(maps).shape == (1, 150, 16, 24)
    if segmentor == "upernet":
        assert model.auxiliary_head(maps).shape == (1, 150, 4, 6)
        assert model.auxiliary_head.loss_decode.loss_weight == 0.4


@pytest.mark.parametrize(("segmentor", "theirs"), [("fpn", "fpn_r50"), ("upernet", "upernet_r50")])
def test_all_other_settings_are_mmsegs_own(segmentor, theirs):
    mmseg = __import__("mmseg").__path__[0]
    base = Config.fromfile(f"{mmseg}/.mim/configs/_base_/models/{theirs}.py").model
    ours = read(f"{segmentor}_lsnet_t_ade20k").model
    own = {"num_classes", "in_channels"}
    for key in base.keys() - {"backbone", "neck", "pretrained", "data_preprocessor"}:
        part = [
            {k: v for k, v in x[key].items() if k not in own}
            if hasattr(x[key], "items")
            else x[key]
            for x in (ours, base)
        ]
        assert part[0] == part[1], key
    assert dict(ours.data_preprocessor, size=None) == dict(base.data_preprocessor, size=None)


def write_example(folder, size: tuple[int, int]) -> dict:
    """An image and its label map, of every label from 0 to 150; width and height given."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size[::-1], 3), np.uint8)
    labels = np.resize(np.arange(151, dtype=np.uint8), size[::-1])
    cv2.imwrite(str(folder / "x.jpg"), image)
    cv2.imwrite(str(folder / "x.png"), labels)
    return dict(
        img_path=str(folder / "x.jpg"),
        seg_map_path=str(folder / "x.png"),
        seg_fields=[],
        reduce_zero_label=True,
    )


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((640, 480), (512, 704)),  # 683 x 512, its width then to the next multiple of 32
        ((500, 333), (512, 800)),  # 769 x 512
        ((400, 1000), (1280, 512)),
        ((2000, 300), (320, 2048)),  # the long side limits: 2048 x 307
    ],
)
def test_test_images_are_resized_to_multiples_of_32_and_labels_are_not(size, resized, tmp_path):
    cfg = read("fpn_lsnet_t_ade20k")
    example = write_example(tmp_path, size)
    sample = Compose(cfg.test_dataloader.dataset.pipeline)(dict(example))
    assert tuple(sample["inputs"].shape) == (3, *resized)
    labels = sample["data_samples"].gt_sem_seg.data[0].numpy()
    stored = cv2.imread(example["seg_map_path"], cv2.IMREAD_UNCHANGED)
    want = np.where(stored == 0, 255, stored.astype(int) - 1)  # label 0 is ignored
    np.testing.assert_array_equal(labels, want)
    assert sample["data_samples"].ori_shape == size[::-1]


@torch.no_grad()
def test_predictions_have_the_labels_size(tmp_path, built):
    cfg, model = built["fpn"]
    model = revert_sync_batchnorm(model).eval()
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    sample = pipeline(write_example(tmp_path, (200, 150)))
    data = model.data_preprocessor(
        dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]]), False
    )
    (result,) = model(**data, mode="predict")
    assert result.pred_sem_seg.data.shape == result.gt_sem_seg.data.shape == (1, 150, 200)


def test_training_images_are_cropped_and_padded_to_512(tmp_path, built):
    cfg, model = built["fpn"]
    pipeline = cfg.train_dataloader.dataset.pipeline
    steps = {step.type: {k: v for k, v in step.items() if k != "type"} for step in pipeline}
    assert steps["RandomResize"] == dict(scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True)
    assert steps["RandomCrop"] == dict(crop_size=(512, 512), cat_max_ratio=0.75)
    assert steps["RandomFlip"] == dict(prob=0.5)
    assert "PhotoMetricDistortion" in steps
    sample = Compose(pipeline)(write_example(tmp_path, (320, 240)))
    assert max(sample["inputs"].shape[1:]) <= 512
    data = model.data_preprocessor(
        dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]]), True
    )
    assert data["inputs"].shape == (1, 3, 512, 512)
    labels = data["data_samples"][0].gt_sem_seg.data
    assert labels.shape == (1, 512, 512)
    height, width = sample["inputs"].shape[1:]
    assert (labels[0, height:] == 255).all()
    assert (labels[0, :, width:] == 255).all()
    assert set(labels.unique().tolist()) <= {*range(150), 255}


def test_data_is_where_mmsegs_configs_have_it():
    cfg = read("upernet_lsnet_b_ade20k")
    for loader, split in (("train", "training"), ("val", "validation"), ("test", "validation")):
        dataset = cfg[f"{loader}_dataloader"].dataset
        assert dataset.type == "ADE20KDataset"
        assert dataset.data_root == "data/ade/ADEChallengeData2016/"
        assert dataset.data_prefix == dict(
            img_path=f"images/{split}", seg_map_path=f"annotations/{split}"
        )
    assert cfg.test_evaluator == dict(type="IoUMetric", iou_metrics=["mIoU"])
    assert (ROOT / "docs/datasets.md").exists()
