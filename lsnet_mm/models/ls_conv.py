"""The LS convolution: see large, focus small (paper, section 3.2)."""

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from lsnet_mm.ops import SKA

from .layers import ConvBN


class LKP(nn.Module):
    """Large-kernel perception: predicts every position's small kernels from a large context.

    Args:
        dim: Channels C of the input; even, and a multiple of ``group_size``.
        large_kernel: Odd size of the depthwise convolution that gathers the context.
        small_kernel: Odd size K of the predicted kernels.
        group_size: Channels that share one predicted kernel.
    """

    def __init__(
        self, dim: int, large_kernel: int = 7, small_kernel: int = 3, group_size: int = 8
    ) -> None:
        super().__init__()
        hidden = dim // 2
        self.sets, self.taps = dim // group_size, small_kernel**2
        self.cv1 = ConvBN(dim, hidden)
        self.act = nn.ReLU(inplace=True)
        self.cv2 = ConvBN(hidden, hidden, large_kernel, groups=hidden)
        self.cv3 = ConvBN(hidden, hidden)
        self.cv4 = nn.Conv2d(hidden, self.sets * self.taps, 1)
        self.norm = nn.GroupNorm(self.sets, self.sets * self.taps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to weights (N, C / group_size, K * K, H, W)."""
        x = self.act(self.cv3(self.cv2(self.act(self.cv1(x)))))
        return self.norm(self.cv4(x)).unflatten(1, (self.sets, self.taps))


@MODELS.register_module()
class LSConv(nn.Module):
    """``BN(SKA(x, LKP(x))) + x``, (N, C, H, W) to the same shape.

    In mm's ResNets it is a plug-in: ``plugins=[dict(cfg=dict(type="LSConv"), position=...)]``.

    Args:
        dim: Channels C of the input; even, and a multiple of ``group_size``.
        large_kernel: Odd size of the perceived context, 7 in every LSNet.
        small_kernel: Odd size of the aggregated neighbourhood, 3 in every LSNet.
        group_size: Channels that share one small kernel, 8 in every LSNet.
        bn_weight: Initial scale of the BatchNorm; with 0 the layer starts as identity, which leaves
            a pretrained network that it is put into as it was.
        in_channels: ``dim`` by the name that mm's libraries give it.

    Raises:
        ValueError: If a size is out of its range, or ``dim`` does not fit ``group_size``.
    """

    def __init__(
        self,
        dim: int | None = None,
        large_kernel: int = 7,
        small_kernel: int = 3,
        group_size: int = 8,
        bn_weight: float = 1.0,
        *,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        if (dim is None) == (in_channels is None):
            raise ValueError(
                f"LSConv: give either dim or in_channels, got dim={dim}, in_channels={in_channels}"
            )
        dim = in_channels if dim is None else dim
        if group_size < 1:
            raise ValueError(f"LSConv: group_size must be positive, got {group_size}")
        if dim < 2 or dim % 2 or dim % group_size:
            raise ValueError(
                f"LSConv: dim must be even and a multiple of group_size {group_size}, got {dim}"
            )
        for name, size in (("large_kernel", large_kernel), ("small_kernel", small_kernel)):
            if size < 1 or size % 2 == 0:
                raise ValueError(f"LSConv: {name} must be odd, got {size}")
        self.lkp = LKP(dim, large_kernel, small_kernel, group_size)
        self.ska = SKA()
        self.bn = nn.BatchNorm2d(dim)
        nn.init.constant_(self.bn.weight, bn_weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.bn(self.ska(x, self.lkp(x))) + x


# What mmcv's ConvModule reads of the convolution it holds.
CONV_ATTRIBUTES = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "transposed",
    "output_padding",
)


class LSConv2d(nn.Sequential):
    """The LS convolution in the place of a 3x3 ``Conv2d``; see :func:`ls_conv2d`.

    Where that has a stride, average pooling comes first: it adds no weights and makes the map as
    large as the convolution does, ceil(H / stride) x ceil(W / stride).

    Args:
        conv: The convolution, with as many channels out as in.
        **options: Of :class:`LSConv`.

    Raises:
        ValueError: If ``conv`` is dilated, or padded otherwise than by 1.
    """

    def __init__(self, conv: nn.Conv2d, **options: Any) -> None:
        if conv.dilation != (1, 1) or conv.padding != (1, 1):
            raise ValueError(
                "LSConv2d: stands in for 3x3 convolutions of dilation 1 and padding 1, got "
                f"dilation {conv.dilation}, padding {conv.padding}; ResNets take "
                "strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)"
            )
        super().__init__()
        if conv.stride != (1, 1):
            self.pool = nn.AvgPool2d(
                conv.stride, conv.stride, ceil_mode=True, count_include_pad=False
            )
        self.ls_conv = LSConv(conv.in_channels, **options)
        for name in CONV_ATTRIBUTES:
            setattr(self, name, getattr(conv, name))


@MODELS.register_module(name="LSConv2d")
def ls_conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    **options: Any,
) -> nn.Module:
    """``Conv2d``, or the LS convolution if that is 3x3, ungrouped and keeps its channels.

    ``conv_cfg=dict(type="LSConv2d")`` makes a ResNet of mmdet, mmseg or mmpretrain one with LS
    convolutions in its bottlenecks (paper, table 9).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Of the convolution.
        stride: Of the convolution; the LS convolution is preceded by average pooling.
        padding: Of the convolution.
        dilation: Of the convolution.
        groups: Of the convolution.
        bias: Of the convolution; the LS convolution ends in a BatchNorm, which has one.
        **options: Of :class:`LSConv`.

    Raises:
        ValueError: If a convolution to replace is dilated, or padded otherwise than by 1.
    """
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
    )
    replaced = conv.kernel_size == (3, 3) and in_channels == out_channels and groups == 1
    return LSConv2d(conv, **options) if replaced else conv
