"""The COCO configs against the published recipe, on what is built from them."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from tests.configs.recipes import CHANNELS, WEIGHTS, parameter_groups, read

DETECTORS = ("retinanet", "mask_rcnn")
ALL = [(d, a) for d in DETECTORS for a in CHANNELS]


@pytest.fixture(scope="module")
def built() -> dict:
    """Models built once: (config, model) by detector, for LSNet-T."""
    models = {}
    for detector in DETECTORS:
        cfg = read(f"{detector}_lsnet_t_coco")
        models[detector] = cfg, MODELS.build(cfg.model)
    return models


@pytest.mark.parametrize(("detector", "arch"), ALL)
def test_backbone_neck_and_weights_belong_together(detector, arch):
    cfg = read(f"{detector}_lsnet_{arch}_coco")
    assert cfg.model.backbone.arch == arch
    assert cfg.model.neck.in_channels == CHANNELS[arch]
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint=WEIGHTS.format(arch))
    backbone = MODELS.build(cfg.model.backbone)
    assert list(backbone.out_channels) == CHANNELS[arch]


@pytest.mark.parametrize("detector", DETECTORS)
def test_optimizer(detector, built):
    cfg, model = built[detector]
    wrapper = cfg.optim_wrapper
    assert (wrapper.type, wrapper.optimizer.type) == ("OptimWrapper", "AdamW")
    assert not wrapper.get("clip_grad")
    groups = parameter_groups(cfg, model)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    for name, group in groups.items():
        assert group["lr"] == 1e-4
        assert group["betas"] == (0.9, 0.999)
        assert group["weight_decay"] == (0 if "attention_biases" in name else 0.05), name
    assert sum("attention_biases" in name for name in groups) == 5


def test_learning_rate_warms_up_and_steps_down():
    cfg = read("retinanet_lsnet_t_coco")
    epoch_length = 600
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(epoch_length):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedulers[0].step()
        schedulers[1].step()
    assert cfg.train_cfg == dict(type="EpochBasedTrainLoop", max_epochs=12, val_interval=1)
    assert [s.by_epoch for s in schedulers] == [False, True]
    assert rates[0] == pytest.approx(1e-4 * 0.001)
    assert rates[250] == pytest.approx(1e-4 * (0.001 + 0.999 * 250 / 500), rel=5e-3)
    assert rates[500] == pytest.approx(1e-4)
    per_epoch = [rates[e * epoch_length + epoch_length - 1] for e in range(12)]
    assert per_epoch == pytest.approx([1e-4] * 8 + [1e-5] * 3 + [1e-6])


@pytest.mark.parametrize("detector", DETECTORS)
def test_training_freezes_statistics_of_the_backbone_alone(detector, built):
    model = built[detector][1].train()
    backbone = [m for m in model.backbone.modules() if isinstance(m, _BatchNorm)]
    assert backbone
    assert not any(m.training for m in backbone)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("detector", DETECTORS)
def test_preprocessing(detector, built):
    preprocessor = built[detector][1].data_preprocessor
    assert preprocessor.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert preprocessor.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])
    bgr = torch.zeros(3, 50, 70, dtype=torch.uint8)
    bgr[0] = 255
    out = preprocessor(dict(inputs=[bgr], data_samples=None), False)["inputs"]
    assert out.shape == (1, 3, 64, 96)  # padded to a multiple of 32, with zeros
    assert out[0, :, 60, 90].tolist() == [0, 0, 0]
    assert out[0, 2, 0, 0].item() == pytest.approx((255 - 103.53) / 57.375)  # blue is last


@pytest.mark.parametrize("detector", DETECTORS)
def test_pipelines(detector, shapes_as_coco):
    cfg = read(f"{detector}_lsnet_t_coco")
    for loader, split in (("train_dataloader", "train"), ("val_dataloader", "val")):
        dataset = cfg[loader].dataset
        dataset.data_root = str(shapes_as_coco)
        dataset = DATASETS.build(dataset)
        sample = dataset[0]
        assert sample["inputs"].shape == (3, 800, 1067)  # 4:3 within 1333 x 800
        assert (split == "train") == bool(dataset.filter_cfg)
        instances = sample["data_samples"].gt_instances
        assert ("masks" in instances) == (detector == "mask_rcnn")
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.train_dataloader.sampler == dict(type="DefaultSampler", shuffle=True)
    assert cfg.train_dataloader.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=32)
    flips = [t for t in cfg.train_dataloader.dataset.pipeline if t.type == "RandomFlip"]
    assert flips == [dict(type="RandomFlip", prob=0.5)]
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    metric = ["bbox", "segm"] if detector == "mask_rcnn" else "bbox"
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == metric


@torch.no_grad()
def test_retinanet_is_mmdets_at_lsnets_strides(built):
    cfg, model = built["retinanet"]
    levels = model.eval().extract_feat(torch.zeros(1, 3, 256, 384))
    assert [tuple(x.shape[1:]) for x in levels] == [
        (256, 32, 48), (256, 16, 24), (256, 8, 12), (256, 4, 6), (256, 2, 3)
    ]  # fmt: skip
    head = model.bbox_head
    assert [s[0] for s in head.prior_generator.strides] == [8, 16, 32, 64, 128]
    assert head.prior_generator.num_base_priors == [9] * 5
    widths = head.prior_generator.base_anchors[0]
    areas = ((widths[:, 2] - widths[:, 0]) * (widths[:, 3] - widths[:, 1])).sqrt()
    want = [32 * 2 ** (i / 3) for i in range(3)]
    assert sorted(areas.tolist()) == pytest.approx(sorted(want * 3), rel=1e-4)
    assert (head.loss_cls.gamma, head.loss_cls.alpha) == (2.0, 0.25)
    assert type(head.loss_bbox).__name__ == "L1Loss"
    assert cfg.model.test_cfg.nms == dict(type="nms", iou_threshold=0.5)
    assert (cfg.model.test_cfg.score_thr, cfg.model.test_cfg.max_per_img) == (0.05, 100)


@torch.no_grad()
def test_mask_rcnn_is_mmdets_with_a_finer_level(built):
    _, model = built["mask_rcnn"]
    levels = model.eval().extract_feat(torch.zeros(1, 3, 256, 384))
    assert [tuple(x.shape[2:]) for x in levels] == [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)]
    assert [s[0] for s in model.rpn_head.prior_generator.strides] == [4, 8, 16, 32, 64]
    assert model.roi_head.bbox_roi_extractor.featmap_strides == [4, 8, 16, 32]
    assert model.roi_head.bbox_head.num_classes == 80
    assert model.roi_head.mask_head.num_classes == 80


@pytest.mark.parametrize("detector", DETECTORS)
def test_all_other_settings_are_mmdets_own(detector):
    """Beyond backbone, neck and strides, the models are mmdet's R50 FPN defaults."""
    names = {"retinanet": "retinanet_r50_fpn", "mask_rcnn": "mask-rcnn_r50_fpn"}
    theirs = Config.fromfile(
        Path(__import__("mmdet").__file__).parent
        / f".mim/configs/_base_/models/{names[detector]}.py"
    ).model
    ours = read(f"{detector}_lsnet_t_coco").model
    for key in theirs.keys() - {"backbone", "neck"}:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("detector", DETECTORS)
def test_stable_variant_only_adds_clipping(detector):
    published = read(f"{detector}_lsnet_b_coco")
    stable = read(f"{detector}_lsnet_b_stable_coco")
    assert stable.optim_wrapper.pop("clip_grad") == dict(max_norm=1.0, norm_type=2)
    assert stable._cfg_dict == published._cfg_dict


def test_learning_rate_scales_with_the_batch(shapes_as_coco, tmp_path):
    """`--auto-scale-lr`: one process with 2 images is an eighth of the published batch of 16."""
    cfg = read("retinanet_lsnet_t_coco")
    cfg.work_dir, cfg.auto_scale_lr.enable = str(tmp_path), True
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(shapes_as_coco)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = str(shapes_as_coco / "annotations/instances_val2017.json")
    runner = Runner.from_cfg(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.scale_lr(wrapper, cfg.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4 / 8)
