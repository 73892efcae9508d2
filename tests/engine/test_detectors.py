"""The released detectors, rebuilt from our configs, against what they give in their framework."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from lsnet_mm.engine import test as run_test
from lsnet_mm.errors import CheckpointError
from tests import golden
from tests.conftest import ROOT

NUMBERS = golden.load("detectors_lsnet_t")
SMALL_REGRESSION = ("retina_reg.weight", "rpn_reg.weight", "fc_reg.weight")
DETECTORS = ("retinanet", "mask_rcnn")


@torch.no_grad()
def build(detector: str) -> nn.Module:
    """A detector with the recorded weights."""
    cfg = Config.fromfile(ROOT / f"configs/{detector}_lsnet_t_coco.py")
    init_default_scope("mmdet")
    model = golden.fill(MODELS.build(cfg.model))
    for key, tensor in model.state_dict().items():
        if key.endswith("retina_cls.bias"):
            tensor.fill_(-2)
        if key.endswith(SMALL_REGRESSION):
            tensor.mul_(0.2)
    return model.eval()


@pytest.fixture(scope="module")
def detectors() -> dict[str, nn.Module]:
    return {name: build(name) for name in DETECTORS}


def sample(boxes: list | None = None, labels: list | None = None) -> DetDataSample:
    shape = (256, 320)
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape)
    result = DetDataSample(metainfo=dict(meta, scale_factor=(1.0, 1.0)))
    if boxes is not None:
        boxes = torch.tensor(boxes, dtype=torch.float32)
        result.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor(labels))
    return result


@pytest.mark.parametrize("detector", DETECTORS)
@torch.no_grad()
def test_head_outputs(detector, detectors):
    model = detectors[detector]
    head = model.bbox_head if detector == "retinanet" else model.rpn_head
    scores, boxes = head(model.extract_feat(golden.images(4242, (1, 3, 256, 320))))
    for kind, outputs in (("cls", scores), ("reg", boxes)):
        for i, output in enumerate(outputs):
            want = NUMBERS[f"{detector}_t/{kind}{i}"]
            got = output.numpy()[..., ::4, ::5]
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * want.std())


@pytest.mark.parametrize("detector", DETECTORS)
@torch.no_grad()
def test_detections(detector, detectors):
    x = golden.images(4242, (1, 3, 256, 320))
    (result,) = detectors[detector].predict(x, [sample()], rescale=False)
    found = result.pred_instances
    got = torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None]], 1).numpy()
    want = NUMBERS[f"{detector}_t/dets"]
    assert got.shape == want.shape
    # Scores may tie, so rows are compared in the order of their labels and boxes.
    order, wanted = (np.lexsort(np.round(rows[:, [0, 1, 5]], 2).T) for rows in (got, want))
    np.testing.assert_allclose(got[order], want[wanted], rtol=1e-4, atol=1e-2)
    if detector == "mask_rcnn":
        areas = found.masks.sum((1, 2)).numpy()[order]
        np.testing.assert_allclose(areas, NUMBERS["mask_rcnn_t/mask_area"][wanted], atol=2)


def test_retinanet_losses(detectors):
    model = detectors["retinanet"].train()
    samples = [
        sample([[10, 20, 120, 180], [150, 60, 300, 200]], [3, 17]),
        sample([[40, 40, 90, 100]], [62]),
    ]
    with torch.no_grad():
        losses = model.loss(golden.images(4343, (2, 3, 256, 320)), samples)
    model.eval()
    for name in ("loss_cls", "loss_bbox"):
        want = NUMBERS[f"retinanet_t/loss/{name}"]
        np.testing.assert_allclose([float(v) for v in losses[name]], want, rtol=1e-5, atol=1e-7)


def published_file(model: nn.Module, path) -> None:
    """A whole-detector checkpoint as mmcv 1.x wrote the released ones."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    meta = {"epoch": 12, "iter": 87960, "mmdet_version": "2.28.2", "CLASSES": ("person", "bicycle")}
    torch.save({"meta": meta, "state_dict": state, "optimizer": optimizer}, path)


def arguments(detector: str, checkpoint, data, work_dir) -> Namespace:
    return Namespace(
        config=str(ROOT / f"configs/{detector}_lsnet_t_coco.py"),
        checkpoint=str(checkpoint),
        work_dir=str(work_dir),
        cfg_options=[
            f"data_root={data}",
            "test_dataloader.dataset.indices=2",
            "test_dataloader.num_workers=0",
            "test_dataloader.persistent_workers=False",
            "test_dataloader.dataset.pipeline.1.scale=(160,120)",
            # Weights by formula detect little: any score counts, or mmdet measures nothing.
            *(["model.test_cfg.rcnn.score_thr=0.0"] if detector == "mask_rcnn" else []),
        ],
        launcher="none",
        show=False,
        show_dir=None,
        wait_time=0,
        tta=False,
        out=None,
        trust_checkpoint=False,
        fold=False,
        compile=None,
    )


@pytest.mark.parametrize("detector", DETECTORS)
def test_published_checkpoint_is_loaded_whole(detector, detectors, shapes_as_coco, tmp_path):
    """Every key of the old layout is matched (the hook refuses anything else), and counted."""
    path = tmp_path / "published.pth"
    published_file(detectors[detector], path)
    metrics = run_test(arguments(detector, path, shapes_as_coco, tmp_path))
    assert "coco/bbox_mAP" in metrics
    assert ("coco/segm_mAP" in metrics) == (detector == "mask_rcnn")


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "other"])
def test_checkpoint_of_another_model_is_refused(change, detectors, shapes_as_coco, tmp_path):
    path = tmp_path / "other.pth"
    if change == "other":
        published_file(detectors["mask_rcnn"], path)
    else:
        state = dict(detectors["retinanet"].state_dict())
        if change == "missing":
            del state["backbone.blocks2.0.c.weight"]
        elif change == "extra":
            state["roi_head.weight"] = torch.zeros(1)
        else:
            state["bbox_head.retina_cls.weight"] = torch.zeros(9 * 7, 256, 3, 3)
        torch.save(dict(state_dict=state), path)
    with pytest.raises(CheckpointError, match="is not one of this RetinaNet"):
        run_test(arguments("retinanet", path, shapes_as_coco, tmp_path))
