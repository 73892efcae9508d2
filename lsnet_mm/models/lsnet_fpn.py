"""LSNetFPN: the feature pyramid of LSNet's published detectors and segmentors."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from torch import Tensor, nn


class LSNetFPN(FPN):
    """mmdet's FPN with finer levels, as LSNet's own start at stride 8 and detectors at 4.

    From the finest lateral after top-down fusion, each 2x2 stride-2 transposed convolution makes
    a level at half the stride, and a 3x3 convolution of its own finishes it.

    Args:
        in_channels: Channels of the backbone's maps, finest first.
        out_channels: Channels of every level.
        num_outs: Levels in all, extra ones included.
        num_extra_trans_convs: Extra finer levels.
        **kwargs: mmdet's FPN arguments.

    Raises:
        ValueError: If ``num_outs`` leaves too few levels for the backbone's maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        num_extra_trans_convs: int = 0,
        **kwargs: Any,
    ) -> None:
        own_levels = num_outs - num_extra_trans_convs
        start, end = kwargs.get("start_level", 0), kwargs.get("end_level", -1)
        used = (len(in_channels) if end == -1 else end + 1) - start
        if num_extra_trans_convs < 0 or own_levels < used:
            raise ValueError(
                f"LSNetFPN: num_outs {num_outs} must be at least the {used} maps used plus "
                f"num_extra_trans_convs {num_extra_trans_convs}"
            )
        super().__init__(list(in_channels), out_channels, own_levels, **kwargs)
        norm_cfg, act_cfg = kwargs.get("norm_cfg"), kwargs.get("act_cfg")
        lateral_norm_cfg = None if self.no_norm_on_lateral else norm_cfg
        extra = range(num_extra_trans_convs)
        self.extra_trans_convs = nn.ModuleList(
            ConvModule(
                out_channels,
                out_channels,
                2,
                stride=2,
                conv_cfg=dict(type="deconv"),
                norm_cfg=lateral_norm_cfg,
                act_cfg=act_cfg,
            )
            for _ in extra
        )
        self.extra_fpn_convs = nn.ModuleList(
            ConvModule(out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg)
            for _ in extra
        )
        # mmdet's FPN keeps its laterals to itself; the finest is what its first output conv reads.
        self._finest: Tensor | None = None
        self.fpn_convs[0].register_forward_pre_hook(self._keep_finest)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Backbone maps (N, in_channels[i], H_i, W_i), finest first, to ``num_outs`` levels.

        Level 0 is the finest: (N, out_channels, H_0 * 2^e, W_0 * 2^e) for e extra levels.
        """
        outs = super().forward(tuple(inputs))
        lateral, self._finest = self._finest, None
        laterals = []
        for transposed in self.extra_trans_convs:
            lateral = transposed(lateral)
            laterals.insert(0, lateral)
        finer = [conv(x) for conv, x in zip(self.extra_fpn_convs, laterals, strict=True)]
        return (*finer, *outs)

    def _keep_finest(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        self._finest = inputs[0]
