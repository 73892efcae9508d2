"""Multi-scale deformable attention: mmcv's ``ms_deform_attn_forward`` and ``_backward``.

mmcv calls them on GPUs only. On the CPU it has a composition of its own, of ``grid_sample`` and
sums, that follows the same rule: it serves here.

Source: mmcv docs, ``mmcv.ops.MultiScaleDeformableAttention``; Zhu et al. 2021, "Deformable DETR".
"""

from torch import Tensor

from .gradients import add_gradients
from .precision import at_least_float32

__all__ = ["ms_deform_attn_backward", "ms_deform_attn_forward"]


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Weighted sum of values that are sampled, bilinearly, at points of several feature maps.

    Args:
        value: (B, S, M, D), floating point: the cells of all L maps, for each of M heads.
        value_spatial_shapes: (L, 2) int64, (height, width) of each map.
        value_level_start_index: (L,) int64, unused: the shapes say where maps begin.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y), from 0 to 1 across each map; further out
            there are zeros.
        attention_weights: (B, Q, M, L, P).
        im2col_step: Unused: all images are computed at once.

    Returns:
        (B, Q, M * D), in the dtype of ``value``.
    """
    tensors = (value, sampling_locations, attention_weights)
    return _attend(value_spatial_shapes, *tensors).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`.

    Args:
        grad_output: (B, Q, M * D), floating point.
        grad_value, grad_sampling_loc, grad_attn_weight: Of the shapes of ``value``,
            ``sampling_locations`` and ``attention_weights``, added to.

    The others are as in the forward pass.
    """
    add_gradients(
        lambda *tensors: _attend(value_spatial_shapes, *tensors),
        (value, sampling_locations, attention_weights),
        grad_output,
        (grad_value, grad_sampling_loc, grad_attn_weight),
    )


def _attend(shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """mmcv's composition, (B, Q, M * D), in at least float32."""
    # Not above: mmcv.ops is what imports the ops of this package.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    value, locations, weights = (at_least_float32(x) for x in (value, locations, weights))
    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)
