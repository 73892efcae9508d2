"""LSNet: See Large, Focus Small (CVPR 2025, arXiv 2503.23135), as a dense-prediction backbone."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation

from .attention import Attention
from .layers import FFN, ConvBN, RepVGGDW, Residual
from .ls_conv import LSConv
from .pretrained import classifier_state, load_pretrained

KEY_DIM = 16
NUM_HEADS = 4
STAGES = 4


class Block(nn.Module):
    """Token mixer, squeeze-excitation or nothing, FFN; (N, C, H, W) to the same shape.

    Local and large-context mixers alternate: even depths mix with RepVGG's depthwise block and
    squeeze-excitation, odd depths with the LS convolution or, in the last stage, attention.

    Args:
        channels: C.
        depth: Index of the block in its stage.
        attention: Whether odd depths attend instead of convolving.
        resolution: Side of the attention bias' grid.
    """

    def __init__(self, channels: int, depth: int, attention: bool, resolution: int) -> None:
        super().__init__()
        self.se: nn.Module = nn.Identity()
        if depth % 2 == 0:
            self.mixer = RepVGGDW(channels)
            # A quarter of the channels, rounded to a multiple of 8.
            self.se = SqueezeExcitation(channels, max(8, (channels // 4 + 4) // 8 * 8))
        elif attention:
            self.mixer = Residual(Attention(channels, KEY_DIM, NUM_HEADS, resolution))
        else:
            self.mixer = LSConv(channels)
        self.ffn = Residual(FFN(channels, channels * 2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.ffn(self.se(self.mixer(x)))


@MODELS.register_module()
class LSNet(BaseModule):
    """LSNet backbone; stage outputs at strides 8, 16, 32 and 64.

    State-dict keys are the published ones, so published files load without conversion. With
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` it takes the published classification
    files, mmpretrain checkpoints of this package and whole detectors or segmentors (their
    ``backbone.``); a file that does not fit raises
    :class:`~lsnet_mm.errors.CheckpointError`.

    Args:
        arch: ``'t'``, ``'s'``, ``'b'``, or a dict with ``channels`` and ``depths``, four each.
        out_indices: Stages to return, increasing, out of 0 to 3. Later stages are not built.
        frozen_stages: -1 trains everything, 0 freezes the stem, ``i`` the stem and stages 1..i
            (parameters and BatchNorm statistics).
        norm_eval: Keep every BatchNorm's statistics frozen in training, its scale and shift still
            trained; the published dense-prediction recipes do.
        with_cp: Recompute blocks in the backward pass to save memory.
        resolution: Side of the grid the attention bias' table describes: 14 in the published
            dense networks, 4 in the classifiers.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: If an argument is out of its range.
    """

    arch_zoo: Mapping[str, Mapping[str, tuple[int, ...]]] = {
        "t": {"channels": (64, 128, 256, 384), "depths": (0, 2, 8, 10)},
        "s": {"channels": (96, 192, 320, 448), "depths": (1, 2, 8, 10)},
        "b": {"channels": (128, 256, 384, 512), "depths": (4, 6, 8, 10)},
    }

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "t",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = True,
        with_cp: bool = False,
        resolution: int = 14,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        channels, depths = _architecture(arch)
        self.arch = arch if isinstance(arch, str) else "custom"
        self.out_indices = _stage_indices(out_indices)
        self.num_stages = self.out_indices[-1] + 1
        if not -1 <= frozen_stages <= self.num_stages:
            raise ValueError(
                f"LSNet: frozen_stages must be -1 to {self.num_stages}, got {frozen_stages}"
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.out_channels = tuple(channels[i] for i in self.out_indices)

        stem = channels[0]
        self.patch_embed = nn.Sequential(
            ConvBN(3, stem // 4, 3, 2),
            nn.ReLU(inplace=True),
            ConvBN(stem // 4, stem // 2, 3, 2),
            nn.ReLU(inplace=True),
            ConvBN(stem // 2, stem, 3, 2),
        )
        for i in range(self.num_stages):
            layers: list[nn.Module] = []
            if i > 0:
                layers += [
                    ConvBN(channels[i - 1], channels[i - 1], 3, 2, groups=channels[i - 1]),
                    ConvBN(channels[i - 1], channels[i]),
                ]
            attention = i == STAGES - 1
            layers += [Block(channels[i], d, attention, resolution) for d in range(depths[i])]
            self.add_module(f"blocks{i + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), normalised, of any H, W >= 1, to the maps of ``out_indices``.

        Map i is (N, channels[i], ceil(H / s), ceil(W / s)) with s = 8 * 2 ** i.
        """
        x = self.patch_embed(x)
        maps = []
        for stage in self._stages():
            for layer in stage:
                if self.with_cp and x.requires_grad:
                    x = checkpoint(layer, x, use_reentrant=False)
                else:
                    x = layer(x)
            maps.append(x)
        # Picked at the end: torch 2.4 compiles `i in self.out_indices` to False for i > 1.
        return tuple(maps[i] for i in self.out_indices)

    def train(self, mode: bool = True) -> "LSNet":
        """Switch mode, keeping frozen stages and, with ``norm_eval``, BatchNorms in eval."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if self.frozen_stages >= 0:
            for module in (self.patch_embed, *self._stages()[: self.frozen_stages]):
                module.eval()
                module.requires_grad_(False)
        return self

    def init_weights(self) -> None:
        """Load ``init_cfg``'s pretrained file if it names one, else mmengine's initialisation.

        Raises:
            CheckpointError: If the file does not fit this network.
            FileNotFoundError: If there is no such file.
        """
        if isinstance(self.init_cfg, dict) and self.init_cfg.get("type") == "Pretrained":
            load_pretrained(self, self.init_cfg["checkpoint"])
            self._is_init = True
        else:
            super().init_weights()

    def _checkpoint_filter(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Let mmpretrain's classifiers load the authors' files; mmpretrain looks for this name."""
        renamed = dict(classifier_state(state_dict))
        state_dict.clear()
        state_dict.update(renamed)

    def _stages(self) -> list[nn.Sequential]:
        return [getattr(self, f"blocks{i + 1}") for i in range(self.num_stages)]


def _architecture(arch: str | Mapping[str, Sequence[int]]) -> tuple[Sequence[int], Sequence[int]]:
    """Check ``arch`` and return its channels and depths, four of each."""
    if isinstance(arch, str):
        if arch not in LSNet.arch_zoo:
            raise ValueError(
                f"LSNet: arch must be one of {', '.join(LSNet.arch_zoo)} or a dict, got {arch!r}"
            )
        arch = LSNet.arch_zoo[arch]
    if set(arch) != {"channels", "depths"} or any(len(v) != STAGES for v in arch.values()):
        raise ValueError(
            f"LSNet: arch must have 'channels' and 'depths', {STAGES} of each, got {dict(arch)}"
        )
    channels, depths = arch["channels"], arch["depths"]
    if any(c < 8 or c % 8 for c in channels) or any(d < 0 for d in depths):
        raise ValueError(
            f"LSNet: channels must be positive multiples of 8 and depths >= 0, got {dict(arch)}"
        )
    return channels, depths


def _stage_indices(indices: Sequence[int]) -> tuple[int, ...]:
    stages = tuple(indices)
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 0 or stages[-1] >= STAGES:
        raise ValueError(
            f"LSNet: out_indices must be increasing, out of 0 to {STAGES - 1}, got {stages}"
        )
    return stages
