"""Vision transformers with the LS convolution in the place of self-attention (paper, table 9)."""

from collections.abc import Mapping
from typing import Any

from mmcv.cnn.bricks import DropPath
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention, resize_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from .ls_conv import LSConv


class GridLSConv(nn.Module):
    """The LS convolution on tokens (N, H, W, C), to the same shape.

    Args:
        attention: The self-attention it stands in for, whose layer scale and dropout it keeps.
        **options: Of :class:`~lsnet_mm.models.LSConv`.
    """

    def __init__(self, attention: MultiheadAttention, **options: Any) -> None:
        super().__init__()
        self.conv = LSConv(attention.embed_dims, **options)
        self.proj_drop = attention.proj_drop
        self.gamma1 = attention.gamma1
        self.out_drop = attention.out_drop

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to the same shape."""
        x = self.conv(x.movedim(3, 1)).movedim(1, 3)
        return self.out_drop(self.gamma1(self.proj_drop(x)))


class LSConvVisionTransformer(VisionTransformer):
    """mmpretrain's ViT and DeiT with an LS convolution for every self-attention.

    Tokens keep their places on the map of patches from the first layer to the last. There is no
    class token: it has no place on the map, and no convolution would ever tell it about the
    image. The classifier takes the average of all tokens instead, normalised after averaging.

    Args:
        arch: See mmpretrain's ``VisionTransformer``.
        ls_conv: Options of :class:`~lsnet_mm.models.LSConv`.
        out_type: ``'avg_featmap'`` for classifiers, ``'featmap'`` for maps, ``'raw'`` for tokens.
        final_norm: Whether to normalise the last layer's tokens, before averaging them.
        **others: Of ``VisionTransformer``.

    Raises:
        ValueError: If an option is out of its range, or a class token is asked for.
    """

    def __init__(
        self,
        arch: str | Mapping[str, int] = "deit-tiny",
        ls_conv: Mapping[str, Any] | None = None,
        out_type: str = "avg_featmap",
        final_norm: bool = False,
        **others: Any,
    ) -> None:
        if others.pop("with_cls_token", False):
            raise ValueError("LSConvVisionTransformer: there is no class token (with_cls_token)")
        super().__init__(
            arch, out_type=out_type, final_norm=final_norm, with_cls_token=False, **others
        )
        for layer in self.layers:
            layer.attn = GridLSConv(layer.attn, **(ls_conv or {}))
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = float(module.drop_prob)  # NumPy's would break compiled graphs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), normalised, to the outputs of ``out_indices``.

        With patches of P pixels each is (N, C, ceil(H / P), ceil(W / P)) for ``'featmap'``, and
        (N, C) for ``'avg_featmap'``. Exported for any size it must be traced with another than
        ``img_size``, at which positions are not resized.
        """
        # To whole patches, as patch_embed does itself, but with sizes that exporting can trace.
        rows, columns = self.patch_embed.projection.stride
        x = F.pad(x, (0, -x.shape[3] % columns, 0, -x.shape[2] % rows))
        x, size = self.patch_embed(x)
        positions = resize_pos_embed(
            self.pos_embed, self.patch_resolution, size, self.interpolate_mode, num_extra_tokens=0
        )
        x = self.pre_norm(self.drop_after_pos(x + positions)).unflatten(1, size)
        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.final_norm and i == len(self.layers) - 1:
                x = self.ln1(x)
            if i in self.out_indices:
                outs.append(self._format_output(x.flatten(1, 2), size))
        return tuple(outs)
