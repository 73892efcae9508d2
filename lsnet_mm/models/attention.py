"""Attention with a learned position bias, the token mixer of LSNet's last stage."""

from collections import OrderedDict
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ConvBN

LARGEST_GRID = 256  # side of a grid whose table is resized: published ones have 4 and 14
# Resized biases held per layer in eval: COCO's aspect ratios make about 16, of 1.2 MiB at most.
BIASES_KEPT = 16
BYTES_KEPT = 32 << 20  # one of a 4096x4096 image would take 256 MiB


class Attention(nn.Module):
    """Multi-head self-attention over the H * W positions, (N, dim, H, W) to the same shape.

    The bias is a table per head, indexed by the distance ``|dy|``, ``|dx|`` of two tokens on a
    ``resolution`` x ``resolution`` grid. For a map of other than ``resolution ** 2`` tokens, the
    published networks expand the table to a token-by-token matrix and resize that matrix
    bicubically, whatever the map's aspect; their weights were trained so, and it is kept.

    Args:
        dim: Channels; a multiple of ``num_heads``.
        key_dim: Channels of queries and keys per head.
        num_heads: Number of heads.
        resolution: Side R of the grid that the bias table describes.
    """

    def __init__(self, dim: int, key_dim: int, num_heads: int, resolution: int) -> None:
        super().__init__()
        self.dim = dim
        self.key_dim = key_dim
        self.scale = key_dim**-0.5  # here, as torch 2.4 compiles it in forward() for each size anew
        self.num_heads = num_heads
        self.resolution = resolution
        keys = key_dim * num_heads
        self.qkv = ConvBN(dim, dim + 2 * keys)
        self.proj = nn.Sequential(nn.ReLU(), ConvBN(dim, dim, bn_weight=0))
        self.dw = ConvBN(keys, keys, 3, groups=keys)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, resolution**2))
        self.register_buffer("attention_bias_idxs", _distance_indices(resolution))
        self._biases: OrderedDict[tuple, Tensor] = OrderedDict()

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim, H, W) to the same shape."""
        n, _, height, width = x.shape
        keys = self.key_dim * self.num_heads
        q, k, v = self.qkv(x).split([keys, keys, self.dim], dim=1)
        q, k, v = (
            t.reshape(n, self.num_heads, t.shape[1] // self.num_heads, height * width).mT
            for t in (self.dw(q), k, v)
        )
        bias = self.bias(height, width).to(q.dtype)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.expand(n, -1, -1, -1), scale=self.scale
        )
        return self.proj(out.mT.reshape(n, self.dim, height, width))

    def bias(self, height: int, width: int) -> Tensor:
        """Bias of every token pair of a ``height`` x ``width`` map, (1, heads, H * W, H * W).

        In eval without gradients it is computed once for a size and kept for the last
        ``BIASES_KEPT`` sizes, as long as they take no more than ``BYTES_KEPT``.
        """
        tokens = height * width
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._resized_bias(tokens)
        table = self.attention_biases
        version = 0 if table.is_inference() else table._version
        key = (tokens, table.dtype, table.device, version)
        bias = self._biases.pop(key, None)
        if bias is None:
            bias = self._resized_bias(tokens)
        self._biases[key] = bias
        while len(self._biases) > BIASES_KEPT or _bytes(self._biases) > BYTES_KEPT:
            self._biases.popitem(last=False)
        return bias

    def train(self, mode: bool = True) -> "Attention":
        """Switch mode; forgets kept biases, as the table may have changed since."""
        self._biases.clear()
        return super().train(mode)

    def _resized_bias(self, tokens: int) -> Tensor:
        matrix = self.attention_biases[None, :, self.attention_bias_idxs]
        return F.interpolate(matrix, size=(tokens, tokens), mode="bicubic")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Accept a table of another resolution (resized bicubically) and never load indices.

        Classification weights describe a 4 x 4 grid, the dense backbones 14 x 14; the authors
        carry one over to the other by resizing the table.
        """
        name = prefix + "attention_biases"
        table = state_dict.get(name)
        if table is not None:
            state_dict[name] = resize_table(table, self.resolution)
        state_dict[prefix + "attention_bias_idxs"] = self.attention_bias_idxs
        self._biases.clear()
        super()._load_from_state_dict(state_dict, prefix, *args)


def _bytes(tensors: dict[Any, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _distance_indices(resolution: int) -> Tensor:
    """Entry of the bias table for each token pair of an R x R grid, (R * R, R * R) int64."""
    side = torch.arange(resolution)
    distance = (side[:, None] - side[None, :]).abs()
    indices = distance[:, None, :, None] * resolution + distance[None, :, None, :]
    return indices.reshape(resolution**2, resolution**2)


def resize_table(table: Tensor, resolution: int) -> Tensor:
    """Resize (heads, S * S) to (heads, R * R); what is no such table, or fits, is left alone."""
    if table.layout != torch.strided or table.is_quantized or table.is_nested or table.dim() != 2:
        return table
    side = isqrt(table.shape[1])
    if side * side != table.shape[1] or side in (0, resolution) or side > LARGEST_GRID:
        return table
    grid = table.float().reshape(1, -1, side, side)
    resized = F.interpolate(grid, size=(resolution, resolution), mode="bicubic")
    return resized.reshape(-1, resolution**2).to(table.dtype)
