# UperNet with mmseg's defaults on all four stages of LSNet-T. Neither head counts on a stride:
# UPerHead fuses at the finest map, here stride 8, and pools the coarsest, 8x8 of a 512x512 crop.
# The auxiliary head supervises the last but one stage, as in the R50 original; there stride 32.
_base_ = "fpn_lsnet.py"

model = dict(
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="UPerHead",
        in_channels=[64, 128, 256, 384],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=256,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
)
