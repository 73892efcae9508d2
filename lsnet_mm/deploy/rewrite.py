"""LSNet's own layers in standard operators, in the form that runtimes execute fastest."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsnet_mm.models import Attention
from lsnet_mm.ops import SKA

from .fold import fold, replace


@torch.no_grad()
def rewrite(model: nn.Module, sample: Tensor, fixed_size: bool) -> nn.Module:
    """A folded copy of ``model`` in eval mode that holds standard operators alone.

    Args:
        model: Any network; modules that are not LSNet's are at most folded.
        sample: Images (N, 3, H, W) that ``model`` takes.
        fixed_size: Whether only images of the sample's size will be given: attention biases then
            become constants.
    """
    model = fold(copy.deepcopy(model))
    if fixed_size:
        sizes = _attention_sizes(model, sample)
        replace(model, Attention, lambda layer: FixedAttention(layer, *sizes[layer]))
    replace(model, SKA, lambda _: ShiftedSKA())
    return model


class ShiftedSKA(nn.Module):
    """:func:`lsnet_mm.ops.ska` as one multiply-add per tap on slices of the padded map."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` (N, C, H, W), ``w`` (N, S, K * K, H, W) to (N, C, H, W)."""
        channels, height, width = x.shape[1:]
        sets, taps = w.shape[1:3]
        size = round(taps**0.5)
        r = size // 2
        padded = F.pad(x, (r, r, r, r)).unflatten(1, (channels // sets, sets))
        y = 0
        for k in range(taps):
            i, j = k // size, k % size
            y = y + padded[..., i : i + height, j : j + width] * w[:, None, :, k]
        return y.flatten(1, 2)


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
        weights = ((q.mT @ k) * layer.key_dim**-0.5 + self.bias).softmax(-1)
        return layer.proj((v @ weights.mT).reshape(n, layer.dim, height, width))


def _attention_sizes(model: nn.Module, sample: Tensor) -> dict[nn.Module, torch.Size]:
    """Height and width of each attention's map."""
    sizes: dict[nn.Module, torch.Size] = {}
    layers = [m for m in model.modules() if isinstance(m, Attention)]
    hooks = [
        layer.register_forward_pre_hook(lambda m, args: sizes.update({m: args[0].shape[2:]}))
        for layer in layers
    ]
    if layers:
        model(sample)
    for hook in hooks:
        hook.remove()
    return sizes
