# Three stages at strides 8 to 32, and two coarser levels: LSNet's 8 to 128.
# Weights trained with a teacher: there are no others.
_base_ = "../retinanet_lsnet_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="repvit_m0_9.dist_300e_in1k",
        out_indices=(1, 2, 3),
        pretrained=True,
    ),
    neck=dict(in_channels=[96, 192, 384]),
)
