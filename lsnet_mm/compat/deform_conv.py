"""Deformable convolution: mmcv's ``deform_conv_*`` (v1) and ``modulated_deform_conv_*`` (v2).

Both are torchvision's operator, which takes offsets and masks in the same order and follows the
same rule at the border. It chooses itself how many images it unfolds at once: ``im2col_step`` is
not needed, nor are the buffers that mmcv passes.

Source: mmcv docs, ``mmcv.ops.DeformConv2d`` and ``ModulatedDeformConv2d``; Dai et al. 2017,
"Deformable Convolutional Networks"; Zhu et al. 2019, "Deformable ConvNets v2".
"""

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .precision import at_least_float32

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve what is sampled, bilinearly, at shifted places.

    Args:
        input: (B, C, H, W), floating point.
        weight: (OC, C // group, kH, kW).
        offset: (B, deformable_group * kH * kW * 2, OH, OW), in cells, as (y, x) for each place.
        output: (B, OC, OH, OW), overwritten.
        columns, ones, im2col_step: Unused, see above.
        kW, kH: Size of the kernel, as ``weight`` has it.
        dW, dH: Strides.
        padW, padH: Zeros on each side.
        dilationW, dilationH: Steps between the places of the kernel.
        group: Groups of channels that are convolved apart.
        deformable_group: Groups of channels that have offsets of their own.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_convolve(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` by its input and offsets.

    Args:
        gradOutput: (B, OC, OH, OW), floating point.
        gradInput: (B, C, H, W), overwritten.
        gradOffset: Of the shape of ``offset``, overwritten.
        columns: A buffer, overwritten: the gradient by the weight, which torchvision computes
            along with these two and :func:`deform_conv_backward_parameters` is asked for next.

    The others are as in the forward pass.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _gradients(gradOutput, input, weight, offset, None, geometry)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])
    columns.resize_(weight.shape).copy_(grads[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of :func:`deform_conv_forward` by the weight.

    Args:
        gradOutput: (B, OC, OH, OW), floating point.
        gradWeight: (OC, C // group, kH, kW), added to.
        columns: What :func:`deform_conv_backward_input` left, emptied; or an empty buffer.
        scale: Factor of the gradient.

    The others are as in the forward pass.
    """
    if not columns.numel():
        geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        grads = _gradients(gradOutput, input, torch.zeros_like(gradWeight), offset, None, geometry)
        gradWeight += scale * grads[1]
        return
    gradWeight += scale * columns
    columns.resize_(0)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolve what is sampled, bilinearly, at shifted places, each sample with a factor.

    Args:
        input: (B, C, H, W), floating point.
        weight: (OC, C // group, kernel_h, kernel_w).
        bias: (OC,), or anything if ``with_bias`` is false.
        offset: (B, deformable_group * kernel_h * kernel_w * 2, OH, OW), in cells, as (y, x).
            Larger maps are read as mmcv's kernel does, see :func:`_as_read`.
        mask: (B, deformable_group * kernel_h * kernel_w, OH, OW), the factors; likewise.
        output: (B, OC, OH, OW), overwritten.
        ones, columns: Unused, see above.
        kernel_h, kernel_w: Size of the kernel, as ``weight`` has it.
        stride_h, stride_w: Strides.
        pad_h, pad_w: Zeros on each side.
        dilation_h, dilation_w: Steps between the places of the kernel.
        group: Groups of channels that are convolved apart.
        deformable_group: Groups of channels that have offsets and factors of their own.
        with_bias: Whether to add ``bias``.
    """
    strides, padding, dilation = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    geometry = (*strides, *padding, *dilation, group, deformable_group)
    offset, mask = (_as_read(maps, output.shape[2:]) for maps in (offset, mask))
    output.copy_(_convolve(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`.

    Args:
        grad_input, grad_weight, grad_offset, grad_mask: Of the shapes of ``input``, ``weight``,
            ``offset`` and ``mask``, overwritten.
        grad_bias: (OC,), overwritten; left alone if ``with_bias`` is false.
        grad_output: (B, OC, OH, OW), floating point.

    The others are as in the forward pass.
    """
    strides, padding, dilation = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    geometry = (*strides, *padding, *dilation, group, deformable_group)
    offset, mask = (_as_read(maps, grad_output.shape[2:]) for maps in (offset, mask))
    grads = _gradients(grad_output, input, weight, offset, mask, geometry)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    grad_offset.copy_(_as_laid_out(grads[2], grad_offset.shape))
    grad_mask.copy_(_as_laid_out(grads[3], grad_mask.shape))
    if with_bias:
        grad_bias.copy_(grads[4])


def _convolve(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    """torchvision's deformable convolution, (B, OC, OH, OW), in at least float32.

    Args:
        geometry: Strides, paddings and dilations, (y, x) each, then the numbers of groups and of
            deformable groups.
    """
    tensors = _tensors(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *geometry, mask is not None)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Gradients of :func:`_convolve` by the input, weight, offsets, mask and bias."""
    grad, *tensors = (at_least_float32(grad_output), *_tensors(input, weight, offset, mask, None))
    return torch.ops.torchvision._deform_conv2d_backward(
        grad, *tensors, *geometry, mask is not None
    )


def _tensors(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> list[Tensor]:
    """The operator's tensors in its order and in at least float32; what there is not is empty."""
    # At NaN mmcv samples 0, while torchvision's CPU operator reads some other memory.
    offset = offset.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    mask = input.new_zeros(len(input), 0) if mask is None else mask
    bias = input.new_zeros(len(weight)) if bias is None else bias
    return [at_least_float32(tensor) for tensor in (input, weight, offset, mask, bias)]


def _as_read(maps: Tensor, size: torch.Size) -> Tensor:
    """Offsets or factors as mmcv's kernel reads them: as if they had the size of the output.

    It does not look at their own size, and mmdet's DyHead passes maps that are larger: of those
    only the first values of each image count, cut anew into maps of the output's size. Published
    weights were trained so.

    Args:
        maps: (B, N, ...), at least as large as ``size``.
        size: (OH, OW).

    Returns:
        (B, N, OH, OW).
    """
    batch, count = maps.shape[:2]
    return maps.flatten(1)[:, : count * size.numel()].reshape(batch, count, *size)


def _as_laid_out(grad: Tensor, shape: torch.Size) -> Tensor:
    """The gradient by maps of ``shape``, given that by what :func:`_as_read` makes of them."""
    total = grad.new_zeros(shape[0], shape[1:].numel())
    total[:, : grad[0].numel()] = grad.flatten(1)
    return total.reshape(shape)
