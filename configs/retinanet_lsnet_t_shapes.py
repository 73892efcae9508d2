# A light RetinaNet on the synthetic Shapes set, learnt from scratch in minutes on two CPU cores.
_base_ = "retinanet_lsnet_t_coco.py"

data_root = "data/shapes/"
metainfo = dict(
    classes=("ellipse", "triangle", "rectangle", "star", "cross", "ring", "crescent"),
    palette=[
        (230, 57, 70),
        (255, 183, 3),
        (42, 157, 143),
        (131, 56, 236),
        (58, 134, 255),
        (251, 86, 7),
        (144, 190, 109),
    ],
)
size = dict(type="Resize", scale=(320, 240), keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    size,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    size,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator

# A slim neck and head, normalised as nothing is pretrained, and anchors for smaller objects.
channels = 64
model = dict(
    backbone=dict(norm_eval=False, init_cfg=None),
    neck=dict(out_channels=channels, norm_cfg=dict(type="BN")),
    bbox_head=dict(
        num_classes=len(metainfo["classes"]),
        in_channels=channels,
        stacked_convs=2,
        feat_channels=channels,
        norm_cfg=dict(type="GN", num_groups=8),
        anchor_generator=dict(octave_base_scale=3),
    ),
)

epochs = 7
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
