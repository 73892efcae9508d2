# Three stages at strides 8 to 32, and two coarser levels: LSNet's 8 to 128.
_base_ = "../retinanet_lsnet_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="efficientnet_lite0.ra_in1k",
        out_indices=(2, 3, 4),
        pretrained=True,
    ),
    neck=dict(in_channels=[40, 112, 320]),
)
