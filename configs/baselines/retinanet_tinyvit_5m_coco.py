# Three stages at strides 8 to 32, and two coarser levels: LSNet's 8 to 128.
# Weights trained on ImageNet-1k without a teacher, as LSNet's; timm's default are of ImageNet-22k.
_base_ = "../retinanet_lsnet_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="tiny_vit_5m_224.in1k",
        out_indices=(1, 2, 3),
        pretrained=True,
    ),
    neck=dict(in_channels=[128, 160, 320]),
)
