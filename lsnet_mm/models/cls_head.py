"""LSNet's classification head, for mmpretrain's classifiers."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.heads import LeViTClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("hard", "soft")


class DistillationLoss(nn.Module):
    """What the distillation head learns from a teacher (DeiT, arXiv 2012.12877, section 4).

    Args:
        kind: ``'hard'``: cross entropy with the teacher's arg-max, as published. ``'soft'``:
            Kullback-Leibler divergence of softened scores, times ``tau ** 2``, averaged over
            images and classes.
        alpha: Weight of this loss; labels keep ``1 - alpha``. 0 to 1.
        tau: Temperature of soft distillation, positive.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, kind: str = "hard", alpha: float = 0.5, tau: float = 1.0) -> None:
        super().__init__()
        if kind not in KINDS or not 0 <= alpha <= 1 or tau <= 0:
            raise ValueError(
                f"distillation: kind must be one of {', '.join(KINDS)}, alpha 0 to 1, tau "
                f"positive, got kind={kind!r}, alpha={alpha}, tau={tau}"
            )
        self.kind = kind
        self.alpha = alpha
        self.tau = tau

    def forward(self, scores: Tensor, teacher_scores: Tensor) -> Tensor:
        """Logits of student and teacher, both (N, classes), to a scalar, not yet times alpha."""
        if self.kind == "hard":
            return F.cross_entropy(scores, teacher_scores.argmax(1))
        divergence = F.kl_div(
            F.log_softmax(scores / self.tau, 1),
            F.log_softmax(teacher_scores / self.tau, 1),
            reduction="sum",
            log_target=True,
        )
        return divergence * self.tau**2 / scores.numel()


class LSNetClsHead(LeViTClsHead):
    """BatchNorm and linear layer on pooled features; with distillation, two of them.

    Each learns from its own target; predictions average their logits.

    Args:
        in_channels: Of the pooled features.
        num_classes: Classes to tell apart.
        distillation: Arguments of :class:`~lsnet_mm.models.cls_head.DistillationLoss`, or None for
            one layer only. Training then takes a :class:`~lsnet_mm.models.DistilledClassifier`.
        loss: Config of the loss on labels.
        init_cfg: mmengine's initialisation config; the published one by default.
        **others: See mmpretrain's ``ClsHead``.

    Raises:
        ValueError: If ``distillation`` is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1000,
        distillation: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            distillation=distillation is not None,
            init_cfg=init_cfg or dict(type="TruncNormal", layer="Linear", std=0.02),
            **others,
        )
        if distillation is not None:
            self.distillation_loss = DistillationLoss(**distillation)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, Tensor]:
        """Pooled features, the last of ``feats`` (N, C), to logits (N, num_classes).

        In training with distillation, those for the labels and those for the teacher's.
        """
        x = self.pre_logits(feats)
        if not self.distillation:
            return self.head(x)
        scores, distilled = self.head(x), self.head_dist(x)
        return (scores, distilled) if self.training else (scores + distilled) / 2

    def loss(
        self,
        feats: tuple[Tensor, ...],
        data_samples: Sequence[DataSample],
        teacher_scores: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss on labels and, with distillation, on a teacher's logits (N, num_classes).

        Raises:
            ValueError: If the head distils and there is no teacher, or it has other classes.
        """
        if not self.distillation:
            return super().loss(feats, data_samples)
        wanted = (len(data_samples), self.num_classes)
        if teacher_scores is None or tuple(teacher_scores.shape) != wanted:
            found = "none" if teacher_scores is None else tuple(teacher_scores.shape)
            raise ValueError(
                f"the distilling head needs a teacher's scores of shape {wanted}, got {found}: "
                "train it in a DistilledClassifier with a teacher of the same classes"
            )
        scores, distilled = self(feats)
        alpha = self.distillation_loss.alpha
        return {
            "loss_labels": (1 - alpha) * self._get_loss(scores, data_samples)["loss"],
            "loss_teacher": alpha * self.distillation_loss(distilled, teacher_scores),
        }
