# All four stages. Their strides are 4 to 32: the label map is predicted at stride 4.
# Weights trained with a teacher: there are no others.
_base_ = "../fpn_lsnet_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="repvit_m0_9.dist_300e_in1k",
        out_indices=(0, 1, 2, 3),
        pretrained=True,
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
