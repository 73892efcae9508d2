"""LSNet's own layers in standard operators, in the form that runtimes execute fastest."""

import copy
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsnet_mm.models import Attention, LSConv

from .fold import fold, replace


@torch.no_grad()
def rewrite(model: nn.Module, sample: tuple[Tensor, ...], fixed_size: bool) -> nn.Module:
    """A folded copy of ``model`` in eval mode that holds standard operators alone.

    Args:
        model: Any network; modules that are not LSNet's are at most folded.
        sample: Inputs that ``model`` takes, images (N, 3, H, W) first.
        fixed_size: Whether only images of the sample's size will be given: attention biases then
            become constants.
    """
    model = fold(copy.deepcopy(model))
    if fixed_size:
        sizes = _attention_sizes(model, sample)
        replace(model, Attention, lambda layer: FixedAttention(layer, *sizes[layer]))
    replace(model, LSConv, StaticLSConv)
    if "mmseg" in sys.modules:
        from mmseg.models.utils import Upsample

        replace(model, Upsample, _traceable)
    return model


class StaticLSConv(nn.Module):
    """:class:`~lsnet_mm.models.LSConv` with all that is constant in two depthwise convolutions.

    With the taps' weights normalised to ``z``, before GroupNorm's scale and shift, the layer is
    ``sum_k taps_k(x) * z_k + rest(x)``: ``taps`` lays out each position's neighbourhood, scaled by
    GroupNorm and BatchNorm; ``rest`` is what their shifts and the residual contribute. Two small
    convolutions, one product and one sum run faster than nine slices and multiply-adds.
    """

    def __init__(self, layer: LSConv) -> None:
        super().__init__()
        lkp, bn, norm = layer.lkp, layer.bn, layer.lkp.norm
        self.sets, self.taps, self.eps = lkp.sets, lkp.taps, norm.eps
        size = round(lkp.taps**0.5)
        channels = len(bn.running_mean)
        self.weights = nn.Sequential(lkp.cv1, lkp.act, lkp.cv2, lkp.cv3, lkp.act, lkp.cv4)

        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        # Of channel c and tap k: set c % S, as in ska.
        scales, shifts = (
            scale[:, None] * t.reshape(self.sets, self.taps).repeat(channels // self.sets, 1)
            for t in (norm.weight, norm.bias)
        )
        shifts[:, self.taps // 2] += 1  # the residual
        self.unfold = _depthwise(channels, channels * self.taps, size)
        self.unfold.weight.copy_(torch.diag_embed(scales).reshape(self.unfold.weight.shape))
        self.rest = _depthwise(channels, channels, size, bias=True)
        self.rest.weight.copy_(shifts.reshape(self.rest.weight.shape))
        self.rest.bias.copy_(bn.bias - scale * bn.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        n, channels, height, width = x.shape
        z = F.group_norm(self.weights(x), self.sets, eps=self.eps)
        z = z.reshape(n, 1, self.sets, self.taps, height * width)
        members = channels // self.sets
        taps = self.unfold(x).reshape(n, members, self.sets, self.taps, height * width)
        return (taps * z).sum(3).reshape(x.shape) + self.rest(x)


class WholeUpsample(nn.Module):
    """Resize (N, C, H, W) to ``factor`` times H and W, bilinearly or as ``mode`` says.

    In the place of mmseg's Upsample, which works the size out in floats: tracing takes that for
    constants.
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor = factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, factor * H, factor * W)."""
        size = (x.shape[2] * self.factor, x.shape[3] * self.factor)
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def _traceable(layer: nn.Module) -> nn.Module:
    """mmseg's Upsample rewritten, if it is by a whole factor."""
    if layer.size or layer.scale_factor != int(layer.scale_factor):
        return layer
    return WholeUpsample(int(layer.scale_factor), layer.mode, layer.align_corners)


def _depthwise(channels: int, out: int, size: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, padding=size // 2, groups=channels, bias=bias)


class FixedAttention(nn.Module):
    """:class:`~lsnet_mm.models.Attention` for maps of one size, with its bias as a constant."""

    def __init__(self, layer: Attention, height: int, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("bias", layer.bias(height, width).clone())

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim, H, W) to the same shape."""
        layer = self.layer
        n, _, height, width = x.shape
        keys = layer.key_dim * layer.num_heads
        q, k, v = layer.qkv(x).split([keys, keys, layer.dim], dim=1)
        q, k, v = (t.reshape(n, layer.num_heads, -1, height * width) for t in (layer.dw(q), k, v))
        weights = ((q.mT @ k) * layer.scale + self.bias).softmax(-1)
        return layer.proj((v @ weights.mT).reshape(n, layer.dim, height, width))


def _attention_sizes(model: nn.Module, sample: tuple[Tensor, ...]) -> dict[nn.Module, torch.Size]:
    """Height and width of each attention's map."""
    sizes: dict[nn.Module, torch.Size] = {}
    layers = [m for m in model.modules() if isinstance(m, Attention)]
    hooks = [
        layer.register_forward_pre_hook(lambda m, args: sizes.update({m: args[0].shape[2:]}))
        for layer in layers
    ]
    if layers:
        model(*sample)
    for hook in hooks:
        hook.remove()
    return sizes
