"""The LS convolution: see large, focus small (paper, section 3.2)."""

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


class LSConv(nn.Module):
    """``BN(SKA(x, LKP(x))) + x``, (N, C, H, W) to the same shape.

    Args:
        dim: Channels C of the input; even, and a multiple of ``group_size``.
        large_kernel: Odd size of the perceived context, 7 in every LSNet.
        small_kernel: Odd size of the aggregated neighbourhood, 3 in every LSNet.
        group_size: Channels that share one small kernel, 8 in every LSNet.

    Raises:
        ValueError: If a kernel size is even or ``dim`` does not fit ``group_size``.
    """

    def __init__(
        self, dim: int, large_kernel: int = 7, small_kernel: int = 3, group_size: int = 8
    ) -> None:
        super().__init__()
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

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.bn(self.ska(x, self.lkp(x))) + x
