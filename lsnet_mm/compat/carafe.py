"""CARAFE upsampling: mmcv's ``carafe_*`` and ``carafe_naive_*``, which compute the same.

Source: mmcv docs, ``mmcv.ops.CARAFE``; Wang et al. 2019, "CARAFE: Content-Aware ReAssembly of
FEatures".
"""

from torch import Tensor
from torch.nn.functional import pad

from .gradients import add_gradients
from .precision import at_least_float32

__all__ = [
    "carafe_backward",
    "carafe_forward",
    "carafe_naive_backward",
    "carafe_naive_forward",
]


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample by weighted sums of neighbourhoods, with weights for each place of the output.

    Args:
        features: (B, C, H, W), floating point; zeros surround it.
        masks: (B, group_size * kernel_size ** 2, H * scale_factor, W * scale_factor), the weights.
        output: (B, C, H * scale_factor, W * scale_factor), overwritten.
        kernel_size: Height and width of a neighbourhood, odd.
        group_size: Groups of channels that have weights of their own.
        scale_factor: How many places of the output a cell covers, down and across.
    """
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of :func:`carafe_naive_forward`.

    Args:
        top_grad: Of the shape of its ``output``, floating point.
        bottom_grad, mask_grad: Of the shapes of ``features`` and ``masks``, added to.
        features, masks, kernel_size, group_size, scale_factor: As in the forward pass.
    """
    add_gradients(
        lambda *tensors: _reassemble(*tensors, kernel_size, group_size, scale_factor),
        (features, masks),
        top_grad,
        (bottom_grad, mask_grad),
    )


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """:func:`carafe_naive_forward`, for a backward pass that is not shown the features.

    Args:
        rfeatures: Of the shape of ``features``, overwritten with them: what mmcv keeps of them.
        routput, rmasks: Unused buffers.
        features, masks, output, kernel_size, group_size, scale_factor: As there.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of :func:`carafe_forward`.

    Args:
        rfeatures: The features, as the forward pass left them.
        rtop_grad, rbottom_grad_hs, rbottom_grad, rmask_grad: Unused buffers.
        top_grad, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor: As in
            :func:`carafe_naive_backward`.
    """
    grads, sizes = (bottom_grad, mask_grad), (kernel_size, group_size, scale_factor)
    carafe_naive_backward(top_grad, rfeatures, masks, *grads, *sizes)


def _reassemble(
    features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> Tensor:
    """What :func:`carafe_naive_forward` writes, in at least float32."""
    batch, channels, height, width = features.shape
    scales, per_group = (scale_factor, scale_factor), channels // group_size
    padded = pad(at_least_float32(features), [kernel_size // 2] * 4)
    # The places that a cell covers come before the cells: sums then run along rows of cells.
    weights = at_least_float32(masks).reshape(batch, -1, height, scale_factor, width, scale_factor)
    weights = weights.permute(0, 1, 3, 5, 2, 4).contiguous()
    weights = weights.reshape(batch, group_size, kernel_size**2, 1, *scales, height, width)
    # Neighbour by neighbour: all of them side by side would be kernel_size ** 2 copies.
    output = padded.new_zeros(batch, group_size, per_group, *scales, height, width)
    for neighbour in range(kernel_size**2):
        row, column = divmod(neighbour, kernel_size)
        shifted = padded[:, :, row : row + height, column : column + width]
        shifted = shifted.reshape(batch, group_size, per_group, 1, 1, height, width)
        output.addcmul_(shifted, weights[:, :, neighbour])
    output = output.permute(0, 1, 2, 5, 3, 6, 4)
    return output.reshape(batch, channels, height * scale_factor, width * scale_factor)
