"""The dtype that the ops of this package compute in."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` in float32, or in float64 if it is that already.

    torchvision's CPU operators have no float16 and no bfloat16, and mmcv's kernels lose digits in
    them; results are cast back when they are written out.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
