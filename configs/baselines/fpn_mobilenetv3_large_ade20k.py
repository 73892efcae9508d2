# All four stages. Their strides are 4 to 32: the label map is predicted at stride 4.
_base_ = "../fpn_lsnet_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="mobilenetv3_large_100.ra_in1k",
        out_indices=(1, 2, 3, 4),
        pretrained=True,
    ),
    neck=dict(in_channels=[24, 40, 112, 960]),
)
