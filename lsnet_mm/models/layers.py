"""The small parts LSNet is built from. Attribute names are those of the published state dicts."""

from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution without bias, then BatchNorm (eps 1e-5).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Odd; the map is padded by ``kernel_size // 2``.
        stride: 1 or 2.
        groups: Groups of the convolution.
        bn_weight: Initial scale of the BatchNorm; 0 makes a residual branch start as identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        bn_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, bn_weight)


class Residual(nn.Module):
    """``x + m(x)``.

    Args:
        m: The branch; keeps the shape of its input.
    """

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.m(x)


class FFN(nn.Module):
    """Two 1x1 convolutions with a ReLU between them, (N, C, H, W) to the same shape.

    Args:
        channels: C.
        hidden: Channels between the two convolutions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pw1 = ConvBN(channels, hidden)
        self.act = nn.ReLU(inplace=True)
        self.pw2 = ConvBN(hidden, channels, bn_weight=0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.pw2(self.act(self.pw1(x)))


class RepVGGDW(nn.Module):
    """Depthwise 3x3 and 1x1 branches and identity, summed (RepVGG's training-time form).

    Args:
        channels: C of the (N, C, H, W) input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, 3, groups=channels)
        self.conv1 = ConvBN(channels, channels, 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.conv(x) + self.conv1(x) + x
