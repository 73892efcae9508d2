"""Folding: what BatchNorm and parallel branches do after training, done once in the weights."""

from collections.abc import Callable

import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lsnet_mm.models.layers import ConvBN, RepVGGDW


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Fold a trained network in place for inference, and return it in eval mode.

    LSNet's BatchNorms go into the convolutions before them, as do those of necks and heads made
    of mmcv's ConvModule; RepVGG's branches become one convolution; LSNet's classification heads
    become one linear layer. Outputs stay the same up to rounding (1e-4 relative in float32).
    Other backbones are left as they are: which BatchNorm follows which convolution is not to be
    told from outside. A folded network can neither be trained further nor load a checkpoint.

    Args:
        model: Backbone, classifier, detector or segmentor. Folding it twice changes nothing.
    """
    model.eval()
    replace(model, RepVGGDW, _merge_branches)
    replace(model, ConvBN, lambda block: fuse_conv_bn_eval(block.c, block.bn))
    for module in model.modules():
        if isinstance(module, ConvModule):
            _fold_conv_module(module)
        elif type(module).__name__ == "LSNetClsHead":  # by name: mmpretrain may not be installed
            _merge_heads(module)
    return model


def replace(
    model: nn.Module, kind: type[nn.Module], merge: Callable[[nn.Module], nn.Module]
) -> None:
    """Put ``merge(child)`` in the place of every child of this kind, in all of ``model``."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, merge(child))


def _merge_branches(block: RepVGGDW) -> nn.Conv2d:
    """One depthwise 3x3 convolution for the 3x3, the 1x1 and the identity."""
    conv = fuse_conv_bn_eval(block.conv.c, block.conv.bn)
    pointwise = fuse_conv_bn_eval(block.conv1.c, block.conv1.bn)
    conv.weight += F.pad(pointwise.weight + 1, [1, 1, 1, 1])
    conv.bias += pointwise.bias
    return conv


def _fold_conv_module(module: ConvModule) -> None:
    plain = type(module.conv) is nn.Conv2d and module.order[:2] == ("conv", "norm")
    if plain and module.with_norm and isinstance(module.norm, _BatchNorm):
        module.conv = fuse_conv_bn_eval(module.conv, module.norm)
        setattr(module, module.norm_name, nn.Identity())


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
