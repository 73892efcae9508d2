"""What can be measured: our networks, any of timm's, any config's model."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from lsnet_mm.errors import InputError
from lsnet_mm.models import LSConv, LSNet

from .measure import tensors
from .ska import UnfoldSKA

CLASSES = 1000
OBJECTS = 8  # per image of a detector's training step

# Top-1 on ImageNet-1k at 224 pixels as published by the networks' authors, in percent.
TOP1 = {
    "lsnet_t": 74.9,
    "lsnet_s": 77.8,
    "lsnet_b": 80.3,
    "mobilenetv3_large_100": 75.2,
    "efficientnet_lite0": 75.1,
    "tiny_vit_5m_224": 79.1,
    "repvit_m0_9": 78.7,
    "efficientvit_m4": 74.3,
}


def build(name: str) -> nn.Module:
    """Build a network with random weights, which time does not depend on.

    Args:
        name: ``lsnet_t``, ``_s`` or ``_b``, a classifier of 1000 classes; with ``_backbone``, the
            dense backbone of four maps; a config file; or a name of timm's.

    Raises:
        InputError: If there is no such network.
    """
    if name.endswith(".py"):
        return _from_config(name)
    arch, _, part = name.removeprefix("lsnet_").partition("_")
    if name.startswith("lsnet_") and arch in LSNet.arch_zoo and part in ("", "backbone"):
        return LSNet(arch) if part else _classifier(arch)
    return _from_timm(name)


def _classifier(arch: str) -> nn.Module:
    init_default_scope("mmpretrain")  # an earlier config's may be another
    backbone = LSNet(arch, out_indices=(3,), norm_eval=False, resolution=4)
    head = dict(type="LSNetClsHead", in_channels=backbone.out_channels[0], num_classes=CLASSES)
    return MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=backbone,
            neck=dict(type="GlobalAveragePooling"),
            head=head,
        )
    )


def _from_config(path: str) -> nn.Module:
    if not Path(path).is_file():
        raise InputError(f"config not found: {path}")
    cfg = Config.fromfile(path)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    return revert_sync_batchnorm(MODELS.build(cfg.model))  # there is one process


def _from_timm(name: str) -> nn.Module:
    import timm

    try:
        return timm.create_model(name)
    except RuntimeError as error:
        close = ", ".join(get_close_matches(name, timm.list_models(), n=4))
        raise InputError(
            f"{name} is neither lsnet_{{t,s,b}}[_backbone], nor a config file, nor a model of timm"
            + (f" (which has {close})" if close else "")
        ) from error


def with_unfold(model: nn.Module) -> nn.Module:
    """Return ``model`` with its SKA as one would write it first in torch."""
    for module in model.modules():
        if isinstance(module, LSConv):
            module.ska = UnfoldSKA()
    return model


def with_checkpointing(model: nn.Module) -> nn.Module:
    """Return ``model`` with its LSNet recomputing blocks in the backward pass (``with_cp``)."""
    for module in model.modules():
        if isinstance(module, LSNet):
            module.with_cp = True
    return model


def training_step(model: nn.Module, x: Tensor) -> Callable[[], Any]:
    """One step of AdamW on random targets: forward, loss, backward, update.

    Configs' models take their own loss; other networks the mean of their outputs.

    Args:
        model: In training mode.
        x: Images (N, 3, H, W).
    """
    fused = x.is_cuda or x.dtype == torch.float32
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=fused)
    samples = [_target(model, x.shape[2:]).to(x.device) for _ in x] if _has_loss(model) else None

    def step() -> None:
        if samples is None:
            loss = sum(output.float().mean() for output in tensors(model(x)))
        else:
            loss, _ = model.parse_losses(model(x, samples, mode="loss"))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _has_loss(model: nn.Module) -> bool:
    return hasattr(model, "parse_losses")


def _target(model: nn.Module, size: tuple[int, int]) -> Any:
    """A random training target of the kind that an mm model takes, for one image."""
    libraries = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
    if "mmpretrain" in libraries:
        from mmpretrain.structures import DataSample

        return DataSample().set_gt_label(int(torch.randint(CLASSES, ())))
    if "mmseg" in libraries:
        from mmseg.structures import SegDataSample

        labels = torch.randint(model.decode_head.num_classes, (1, *size))
        return SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
    return _objects(size, meta)


def _objects(size: tuple[int, int], meta: dict[str, Any]) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    limits = torch.tensor(size[::-1], dtype=torch.float32)
    corners = torch.rand(OBJECTS, 2) * limits * 0.7
    boxes = torch.cat([corners, corners + limits * 0.3], 1)
    masks = torch.zeros(OBJECTS, *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    objects = InstanceData(
        bboxes=boxes,
        labels=torch.randint(7, (OBJECTS,)),
        masks=BitmapMasks(masks.numpy(), *size),
    )
    return DetDataSample(metainfo=meta, gt_instances=objects)
