# All four stages. Their strides are 4 to 32: the label map is predicted at stride 4.
# Weights trained on ImageNet-1k without a teacher, as LSNet's; timm's default are of ImageNet-22k.
_base_ = "../fpn_lsnet_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="tiny_vit_5m_224.in1k",
        out_indices=(0, 1, 2, 3),
        pretrained=True,
    ),
    neck=dict(in_channels=[64, 128, 160, 320]),
)
