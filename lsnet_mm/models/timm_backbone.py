"""TimmFeatures: any of timm's feature extractors as a backbone, to compare LSNet with."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import timm
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lsnet_mm.errors import CheckpointError, InputError


class TimmFeatures(BaseModule):
    """A timm model's feature maps, trained as LSNet is in the dense-prediction recipes.

    Unlike mmpretrain's TIMMBackbone it freezes BatchNorm statistics, and fetches pretrained weights
    in ``init_weights``, which MMEngine's runner calls before training and not before testing. The
    names of its weights are the same.

    Args:
        model_name: timm's, best with the tag of its weights: ``'repvit_m0_9.dist_300e_in1k'``.
        out_indices: Which of the maps that timm offers to return, increasing.
        pretrained: Whether ``init_weights`` fetches the weights that timm has for the name.
        norm_eval: Keep every BatchNorm's statistics frozen in training, its scale and shift still
            trained.

    Raises:
        InputError: If timm has no such model, or it has no such maps.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int],
        pretrained: bool = False,
        norm_eval: bool = True,
    ) -> None:
        super().__init__()
        self.model_name = model_name
        self.out_indices = tuple(out_indices)
        self.pretrained = pretrained
        self.norm_eval = norm_eval
        self.timm_model = self._create()
        self.out_channels = tuple(self.timm_model.feature_info.channels())
        self.strides = tuple(self.timm_model.feature_info.reduction())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), normalised, to the maps of ``out_indices``.

        Map i is (N, out_channels[i], ceil(H / strides[i]), ceil(W / strides[i])).
        """
        return tuple(self.timm_model(x))

    def train(self, mode: bool = True) -> "TimmFeatures":
        """Switch mode, keeping BatchNorms in eval with ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Fetch the weights if ``pretrained``; else keep timm's own initialisation.

        Raises:
            CheckpointError: If they cannot be fetched.
        """
        if self.pretrained:
            self.timm_model.load_state_dict(self._fetch().state_dict())
        self._is_init = True

    def _fetch(self) -> nn.Module:
        # timm loads weights into the whole network only, before it cuts the features out of it.
        try:
            return timm.create_model(self.model_name, pretrained=True, **self._features())
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"could not fetch timm's weights of {self.model_name} ({error}). Without network, "
                "fetch them elsewhere and copy the Hugging Face cache (HF_HOME), or start from "
                "random weights: --cfg-options model.backbone.pretrained=False"
            ) from error

    def _create(self) -> nn.Module:
        name = self.model_name
        if not timm.is_model(name):
            close = get_close_matches(name.partition(".")[0], timm.list_models(), n=4)
            hint = f" (like it: {', '.join(close)})" if close else ""
            raise InputError(f"timm has no model {name!r}{hint}")
        try:
            return timm.create_model(name, **self._features())
        except IndexError as error:
            raise InputError(f"timm's {name} has no maps {self.out_indices}") from error
        except (RuntimeError, ValueError) as error:
            raise InputError(f"timm could not make {name} ({error})") from error

    def _features(self) -> dict[str, Any]:
        return dict(features_only=True, out_indices=self.out_indices)
