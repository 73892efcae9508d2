"""The released segmentor, rebuilt from our config, against what it gives in its framework."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from lsnet_mm.errors import CheckpointError
from tests import golden
from tests.configs.recipes import read
from tests.conftest import ROOT
from tests.engine.test_run import arguments, run_test, run_train

NUMBERS = golden.load("segmentor_lsnet_t")
SHAPE = (256, 352)


@pytest.fixture(scope="module")
def segmentor() -> nn.Module:
    """Semantic FPN with the recorded weights."""
    model = MODELS.build(read("fpn_lsnet_t_ade20k").model)
    return golden.fill(revert_sync_batchnorm(model)).eval()


@torch.no_grad()
def test_logits_and_label_map(segmentor):
    x = golden.images(5151, (1, 3, *SHAPE))
    sample = SegDataSample(metainfo=dict(img_shape=SHAPE, ori_shape=SHAPE, pad_shape=SHAPE))
    (result,) = segmentor.predict(x, [sample])
    want = NUMBERS["t/logits"]
    got = result.seg_logits.data.numpy()[None, :, ::8, ::8]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * want.std())
    labels = result.pred_sem_seg.data.numpy().ravel()
    histogram = np.bincount(labels, minlength=150)
    # A pixel whose two best logits differ by less than the bound may fall to either.
    assert np.abs(histogram - NUMBERS["t/label_histogram"]).sum() <= 4


def test_loss(segmentor):
    labels = np.random.RandomState(6).randint(0, 150, (1, 1, *SHAPE))
    sample = SegDataSample(metainfo=dict(img_shape=SHAPE))
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels[0]))
    with torch.no_grad():
        losses = segmentor.loss(golden.images(5151, (1, 3, *SHAPE)), [sample])
    want = float(NUMBERS["t/loss_ce"])
    assert losses["decode.loss_ce"].item() == pytest.approx(want, rel=1e-5)


def published_file(model: nn.Module, path: Path) -> None:
    """A whole-segmentor checkpoint as mmcv 1.x wrote the released ones."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    meta = {"epoch": 1, "iter": 40000, "mmseg_version": "0.30.0", "CLASSES": ("wall",)}
    meta["PALETTE"] = [[120, 120, 120]]
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}}}, path)


def config(name: str) -> str:
    return str(ROOT / f"configs/{name}_lsnet_t_ade20k.py")


def on_shapes(data: Path) -> list[str]:
    """Options that read a few small images in this process."""
    return [
        f"data_root={data}",
        *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
        *(f"{loader}_dataloader.persistent_workers=False" for loader in ("train", "val", "test")),
        *(f"{loader}_dataloader.dataset.indices=2" for loader in ("val", "test")),
        *(f"{loader}_dataloader.dataset.pipeline.1.scale=(256,128)" for loader in ("val", "test")),
    ]


def test_published_checkpoint_is_loaded_whole(segmentor, shapes_as_ade20k, tmp_path):
    """Every key of the old layout is matched (the hook refuses anything else), and counted."""
    published_file(segmentor, tmp_path / "published.pth")
    args = arguments(config("fpn"), tmp_path, *on_shapes(shapes_as_ade20k))
    args.checkpoint = str(tmp_path / "published.pth")
    metrics = run_test(args)
    assert set(metrics) == {"aAcc", "mIoU", "mAcc"}
    assert all(np.isfinite(v) for v in metrics.values())


def test_checkpoint_of_another_segmentor_is_refused(segmentor, shapes_as_ade20k, tmp_path):
    published_file(segmentor, tmp_path / "fpn.pth")
    args = arguments(config("upernet"), tmp_path, *on_shapes(shapes_as_ade20k))
    args.checkpoint = str(tmp_path / "fpn.pth")
    with pytest.raises(CheckpointError, match="is not one of this EncoderDecoder"):
        run_test(args)


SMALL = """
_base_ = {base!r}
channels = [16, 16, 32, 32]
arch = dict(_delete_=True, channels=channels, depths=(0, 1, 2, 2))
model = dict(
    data_preprocessor=dict(size=(64, 64)), backbone=dict(arch=arch, init_cfg=None), **{heads}
)
"""
HEADS = {
    "fpn": dict(neck=dict(in_channels=[16, 16, 32, 32])),
    "upernet": dict(
        decode_head=dict(in_channels=[16, 16, 32, 32], channels=16),
        auxiliary_head=dict(in_channels=32, channels=16),
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_trains_and_is_measured_plain_folded_and_over_sizes(name, shapes_as_ade20k, tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL.format(base=config(name), heads=HEADS[name]))
    options = [
        *on_shapes(shapes_as_ade20k),
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "default_hooks.checkpoint.interval=2",
        "default_hooks.logger.interval=1",
        "train_dataloader.dataset.pipeline.2.scale=(160,120)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
        *(
            f"tta_pipeline.1.transforms.0.{i}.scale=({64 * i + 128},{32 * i + 64})"
            for i in range(6)
        ),
    ]
    run_train(arguments(str(path), tmp_path, *options))
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss_ce" in line]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    metrics = {}
    for how in ("plain", "fold", "tta"):
        args = arguments(str(path), tmp_path / how, *options, **{how: True})
        args.checkpoint = str(tmp_path / "iter_2.pth")
        metrics[how] = run_test(args)
    logged = json.loads(lines[-1])
    assert metrics["plain"]["mIoU"] == pytest.approx(logged["mIoU"])
    assert metrics["fold"] == pytest.approx(metrics["plain"], abs=0.1)
    assert metrics["tta"].keys() == metrics["plain"].keys()
