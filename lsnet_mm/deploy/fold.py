"""Folding: what BatchNorm and parallel branches do after training, done once in the weights."""

from collections.abc import Callable

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn
from torch.nn import functional as F

from lsnet_mm.models.layers import RepVGGDW


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Fold a trained network in place for inference, and return it in eval mode.

    Every BatchNorm that follows a convolution, in backbone, neck or head and in the sequence of
    their layers, goes into that convolution; RepVGG's branches become one convolution; LSNet's
    classification heads become one linear layer. Outputs stay the same up to rounding (1e-4
    relative in float32). Training it further or loading a checkpoint into it is not possible:
    fold after loading.

    Args:
        model: Backbone, classifier, detector or segmentor. Folding it twice changes nothing.
    """
    model.eval()
    fuse_conv_bn(model)
    _replace(model, RepVGGDW, _merge_branches)
    for module in model.modules():
        if type(module).__name__ == "LSNetClsHead":  # by name: mmpretrain need not be installed
            _merge_heads(module)
    return model


def _replace(
    model: nn.Module, kind: type[nn.Module], merge: Callable[[nn.Module], nn.Module]
) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, merge(child))


def _merge_branches(block: RepVGGDW) -> nn.Conv2d:
    """One depthwise 3x3 convolution for the 3x3, the 1x1 and the identity."""
    conv, pointwise = block.conv.c, block.conv1.c
    conv.weight += F.pad(pointwise.weight + 1, [1, 1, 1, 1])
    conv.bias += pointwise.bias
    return conv


def _merge_heads(head: nn.Module) -> None:
    """One linear layer for BatchNorm and linear layer, or for the average of two such pairs."""
    if hasattr(head.head, "fuse"):
        head.head = head.head.fuse()
    if head.distillation:
        other = head.head_dist.fuse()
        head.head.weight.lerp_(other.weight, 0.5)
        head.head.bias.lerp_(other.bias, 0.5)
        head.distillation = False
        del head.head_dist
