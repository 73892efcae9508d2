"""Training a classifier with a teacher's help."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmpretrain import get_model
from mmpretrain.models import ImageClassifier, TimmClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from lsnet_mm.errors import CheckpointError, InputError

from .pretrained import read_checkpoint


class Teacher:
    """A trained classifier that only scores images: frozen, in eval mode, and no module.

    Not being one, it is in no state dict, optimizer or DDP bucket of the model that holds it.

    Args:
        model: mmpretrain classifier; its own normalisation is used where it has one.
        mean: Of the images it will be given, per channel RGB, 0 to 255.
        std: As ``mean``.
    """

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor) -> None:
        self.model = model.eval().requires_grad_(False)
        own_mean, own_std, self._reverse = _normalisation(model, mean, std)
        self._scale = std / own_std
        self._shift = (mean - own_mean) / own_std
        self._as_given = bool((self._scale == 1).all() and (self._shift == 0).all())

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), RGB and normalised for the student, to logits (N, classes)."""
        if not self._as_given:
            images = images * self._scale + self._shift
        return self.model(images.flip(1) if self._reverse else images)

    def apply(self, change: Callable[[Tensor], Tensor]) -> None:
        """Move or cast its tensors, as ``nn.Module._apply`` does."""
        self.model._apply(change)
        self._scale, self._shift = change(self._scale), change(self._shift)


class DistilledClassifier(ImageClassifier):
    """mmpretrain's classifier with a teacher that labels every training image again.

    The teacher sees the very images that the student sees, after mixing. It is fetched by
    ``init_weights``, which MMEngine's runner calls before training and not before testing.

    Args:
        teacher: mmpretrain model name or config file; or the config of a model, such as
            ``dict(type='TimmClassifier', model_name=..., pretrained=True)`` for any of timm's.
        teacher_checkpoint: File or URL of its weights. Needed unless the name has published ones
            or timm has ``pretrained=True``.
        **others: See ``ImageClassifier``; the head is an
            :class:`~lsnet_mm.models.LSNetClsHead` with ``distillation``.
    """

    def __init__(
        self,
        teacher: str | dict[str, Any],
        teacher_checkpoint: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.teacher: Teacher | None = None
        self._teacher_cfg = teacher
        self._teacher_checkpoint = teacher_checkpoint

    def init_weights(self) -> None:
        """Initialise the student and fetch the teacher.

        Raises:
            InputError: If there is no such teacher, or nothing says where its weights are.
            CheckpointError: If its weights cannot be fetched or do not fit.
        """
        super().init_weights()
        model = _build_teacher(self._teacher_cfg, self._teacher_checkpoint)
        images = self.data_preprocessor
        self.teacher = Teacher(model.to(images.mean.device), images.mean, images.std)

    def loss(self, inputs: Tensor, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """Losses of normalised images (N, 3, H, W) on their labels and on the teacher's.

        Raises:
            InputError: If ``init_weights`` did not fetch the teacher.
        """
        if self.teacher is None:
            raise InputError("the teacher was not fetched: call init_weights() before training")
        return self.head.loss(self.extract_feat(inputs), data_samples, self.teacher(inputs))

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> "DistilledClassifier":
        if self.teacher is not None:
            self.teacher.apply(fn)
        return super()._apply(fn, *args)


def _build_teacher(teacher: str | dict[str, Any], checkpoint: str | None) -> nn.Module:
    """Build the teacher and load its weights, all of them."""
    try:
        if isinstance(teacher, str):
            model = get_model(teacher, pretrained=checkpoint is None)
        else:
            model = MODELS.build(dict(teacher))
    except CheckpointError:
        raise
    except (ValueError, KeyError, RuntimeError, TypeError, OSError) as error:
        raise InputError(
            f"could not make the teacher {teacher!r} ({error}). Without network, download its "
            "weights elsewhere: model.teacher_checkpoint=FILE, and model.teacher.pretrained=False "
            "for one of timm's"
        ) from error
    if checkpoint is not None:
        _load(model, checkpoint)
    elif isinstance(teacher, Mapping) and not teacher.get("pretrained"):
        raise InputError(
            "the teacher would have random weights: set model.teacher_checkpoint, or "
            "model.teacher.pretrained=True for one of timm's"
        )
    return model


def _load(model: nn.Module, filename: str) -> None:
    state = read_checkpoint(filename)
    for key in ("state_dict", "model"):
        state = state.get(key, state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{filename} is not of this teacher: {error}") from error


def _normalisation(model: nn.Module, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Mean and deviation that a model expects, RGB, 0 to 255, and whether its images are BGR.

    Those given where the model says nothing of its own.
    """
    own = model.data_preprocessor
    if hasattr(own, "mean"):
        reverse = not own.to_rgb
        mean, std = (x.flip(0) if reverse else x for x in (own.mean.to(mean), own.std.to(std)))
        return mean, std, reverse
    if isinstance(model, TimmClassifier):
        cfg = model.model.pretrained_cfg
        mean, std = (255 * mean.new_tensor(cfg[k]).view_as(mean) for k in ("mean", "std"))
    return mean, std, False
