"""LSNet's peers: other backbones in its detector and segmentor, and nothing else changed."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.configs.recipes import parameter_groups, read
from tests.conftest import ROOT

BACKBONES = ("mobilenetv3_large", "efficientnet_lite0", "tinyvit_5m", "repvit_m0_9")
TASKS = {"retinanet": "coco", "fpn": "ade20k"}
NAMES = [f"{task}_{b}_{data}" for task, data in TASKS.items() for b in BACKBONES]
SHAPE = (64, 96)


def published(name: str) -> Config:
    """The LSNet-T config that a baseline is measured beside."""
    task = name.partition("_")[0]
    return read(f"{task}_lsnet_t_{TASKS[task]}")


@pytest.fixture(scope="module", params=NAMES)
def built(request) -> tuple[str, Config, nn.Module]:
    """A baseline's name, config and model, built where fetching anything would fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("timm.models._builder.load_pretrained")
        cfg = read(f"baselines/{request.param}")
        return request.param, cfg, revert_sync_batchnorm(MODELS.build(cfg.model))


def batch(name: str) -> tuple[torch.Tensor, list]:
    """Two random images and their labels."""
    meta = dict(img_shape=SHAPE, ori_shape=SHAPE, pad_shape=SHAPE, scale_factor=(1.0, 1.0))
    samples = []
    for _ in range(2):
        if name.startswith("retinanet"):
            sample = DetDataSample(metainfo=meta)
            boxes = torch.tensor([[4.0, 6.0, 44.0, 38.0], [30.0, 20.0, 90.0, 60.0]])
            sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([3, 70]))
        else:
            sample = SegDataSample(metainfo=meta)
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, *SHAPE)))
        samples.append(sample)
    return torch.randn(2, 3, *SHAPE), samples


def test_there_are_no_others():
    assert {path.stem for path in (ROOT / "configs/baselines").glob("*.py")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_backbone_differs_from_lsnets_config(name):
    ours, theirs = read(f"baselines/{name}"), published(name)
    assert ours.model.backbone.type == "TimmFeatures"
    assert ours.model.backbone.pretrained is True
    for cfg in (ours, theirs):
        del cfg.model["backbone"], cfg.model.neck["in_channels"]
    assert ours._cfg_dict == theirs._cfg_dict


@torch.no_grad()
def test_levels_are_what_neck_and_head_expect(built):
    name, cfg, model = built
    assert list(model.backbone.out_channels) == list(cfg.model.neck.in_channels)
    levels = model.eval().extract_feat(torch.zeros(1, 3, 256, 384))
    assert all(level.shape[1] == 256 for level in levels)
    strides = [256 // level.shape[2] for level in levels]
    assert strides == [384 // level.shape[3] for level in levels]
    if name.startswith("retinanet"):
        assert model.backbone.strides == (8, 16, 32)
        assert strides == [s[0] for s in model.bbox_head.prior_generator.strides]
    else:
        assert model.backbone.strides == (4, 8, 16, 32)
        assert strides == model.decode_head.feature_strides


def test_images_are_normalised_as_in_pretraining(built):
    _, cfg, model = built
    pretraining = model.backbone.timm_model.pretrained_cfg
    for key in ("mean", "std"):
        assert cfg.model.data_preprocessor[key] == pytest.approx(
            [255 * v for v in pretraining[key]]
        )


def test_takes_a_training_step(built):
    name, cfg, model = built
    assert not any(m.training for m in model.train().backbone.modules() if _is_norm(m))
    groups = parameter_groups(cfg, model)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    loss, _ = model.parse_losses(model.loss(*batch(name)))
    assert loss.isfinite()
    loss.backward()
    for key, parameter in model.named_parameters():  # DDP, too, counts on all of them
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    stem = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
    assert stem.in_channels == 3
    assert stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["retinanet_tinyvit_5m_coco", "fpn_mobilenetv3_large_ade20k"])
def test_training_starts_from_fetched_weights(name, monkeypatch):
    fetched = []
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda m, **_: fetched.append(m))
    model = MODELS.build(read(f"baselines/{name}").model)
    model.init_weights()  # as MMEngine's runner does before training
    (weights,) = fetched
    stems = [
        next(m for m in net.modules() if isinstance(m, nn.Conv2d))
        for net in (model.backbone, weights)
    ]
    assert torch.equal(stems[0].weight, stems[1].weight)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm)
