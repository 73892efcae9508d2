"""Focal losses: mmcv's ``sigmoid_focal_loss_*`` and ``softmax_focal_loss_*``.

Every function writes its result into a tensor it is given. ``weight`` holds one factor per class,
(C,), or nothing, (0,). Logarithms are taken of at least the smallest normal float32, as mmcv does.

Source: mmcv docs, ``mmcv.ops.sigmoid_focal_loss`` and ``softmax_focal_loss``; Lin et al. 2017,
"Focal Loss for Dense Object Detection".
"""

import torch
from torch import Tensor

from .precision import at_least_float32

__all__ = [
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
]

TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of each logit against "is this the target class".

    Args:
        input: Logits, (N, C), floating point.
        target: (N,) int64, a class. C, or a negative target, is background: all logits of the row
            are negatives.
        weight: (C,) or (0,). A row is scaled by the weight of its target class; background has
            weight 1, where mmcv's kernel reads outside the weights.
        output: (N, C), overwritten: the losses.
        gamma: Exponent that plays down what is already classified well.
        alpha: Share of the positives, ``1 - alpha`` that of the negatives.

    Raises:
        ValueError: If a target is greater than C.
    """
    positive, row_weight = _sigmoid_targets(target, weight, input.shape[1])
    p = at_least_float32(input).sigmoid()
    q = 1 - p
    loss = torch.where(positive, -alpha * q**gamma * _log(p), (alpha - 1) * p**gamma * _log(q))
    output.copy_(loss * row_weight)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of each loss of :func:`sigmoid_focal_loss_forward` by its logit.

    Args:
        input, target, weight, gamma, alpha: As in the forward pass.
        grad_input: (N, C), overwritten: the derivatives.

    Raises:
        ValueError: If a target is greater than C.
    """
    positive, row_weight = _sigmoid_targets(target, weight, input.shape[1])
    p = at_least_float32(input).sigmoid()
    q = 1 - p
    grad = torch.where(
        positive,
        -alpha * q**gamma * (q - gamma * p * _log(p)),
        (alpha - 1) * p**gamma * (gamma * q * _log(q) - p),
    )
    grad_input.copy_(grad * row_weight)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of each row's probability for its target class.

    Args:
        input: Probabilities, (N, C), floating point: a softmax's output.
        target: (N,) int64, a class; a row with a negative target is ignored, its loss is 0.
        weight: (C,) or (0,). A loss is scaled by the weight of its target class.
        output: (N,), overwritten: the losses.
        gamma: Exponent that plays down what is already classified well.
        alpha: Factor of every loss.

    Raises:
        ValueError: If a target is C or greater; mmcv's kernel reads C from the next row.
    """
    p, row_weight = _softmax_targets(input, target, weight)
    output.copy_(-alpha * (1 - p) ** gamma * _log(p) * row_weight)


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss of :func:`softmax_focal_loss_forward` by the softmax's logits.

    Args:
        input, target, weight, gamma, alpha: As in the forward pass.
        buff: (N,), overwritten: the derivative by the target's probability, times the latter.
        grad_input: (N, C), overwritten: the derivatives.

    Raises:
        ValueError: If a target is C or greater.
    """
    p, row_weight = _softmax_targets(input, target, weight)
    q = 1 - p
    # Dividing by q, not lowering the exponent, keeps the limit at q = 0 (log p is 0 there).
    slope = alpha * q**gamma * (gamma * p * _log(p) / q.clamp(min=TINY) - 1) * row_weight
    buff.copy_(slope)
    is_target = target[:, None] == torch.arange(input.shape[1], device=input.device)
    grad_input.copy_(slope[:, None] * (is_target.to(slope.dtype) - input))


def _log(p: Tensor) -> Tensor:
    """Logarithm that stays finite at 0."""
    return p.clamp(min=TINY).log()


def _sigmoid_targets(target: Tensor, weight: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Where a logit is its row's target, (N, C) bool, and the rows' weights, (N, 1)."""
    if (target > classes).any():
        raise ValueError(f"targets must be at most {classes}, the number of classes")
    positive = target[:, None] == torch.arange(classes, device=target.device)
    if not weight.numel():
        return positive, at_least_float32(weight.new_ones(1, 1))
    with_background = torch.cat([at_least_float32(weight), at_least_float32(weight.new_ones(1))])
    return positive, with_background[target.where(target >= 0, classes), None]


def _softmax_targets(input: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The target's probability and the weight of each row, (N,) both; ignored rows weigh 0."""
    classes = input.shape[1]
    if (target >= classes).any():
        raise ValueError(f"targets must be below {classes}, the number of classes")
    kept, target = target >= 0, target.clamp(min=0)
    p = at_least_float32(input).gather(1, target[:, None]).squeeze(1)
    return p, kept.to(p.dtype) * (at_least_float32(weight)[target] if weight.numel() else 1)
