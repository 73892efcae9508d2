# A light Semantic FPN on the synthetic Shapes set, learnt from scratch in minutes on two CPU cores.
_base_ = "fpn_lsnet_t_ade20k.py"

data_root = "data/shapes_ade20k/ADEChallengeData2016/"
metainfo = dict(
    classes=(
        "background",
        "ellipse",
        "triangle",
        "rectangle",
        "star",
        "cross",
        "ring",
        "crescent",
    ),
    palette=[
        (128, 128, 128),
        (230, 57, 70),
        (255, 183, 3),
        (42, 157, 143),
        (131, 56, 236),
        (58, 134, 255),
        (251, 86, 7),
        (144, 190, 109),
    ],
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]
shapes = dict(type="BaseSegDataset", data_root=data_root, metainfo=metainfo, reduce_zero_label=True)
train_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(**shapes, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=1, dataset=dict(**shapes, pipeline=test_pipeline))
test_dataloader = val_dataloader

# A slim neck and head, normalised as nothing is pretrained. Nine pixels in ten are background.
channels = 64
model = dict(
    data_preprocessor=dict(size=None, size_divisor=32),
    backbone=dict(norm_eval=False, init_cfg=None),
    neck=dict(out_channels=channels, norm_cfg=dict(type="BN")),
    decode_head=dict(
        in_channels=[channels] * 4,
        channels=channels,
        num_classes=len(metainfo["classes"]),
        # Of single pixels, whose mean the runner takes: OpenMMLab's mmseg 1.2.2 takes none where
        # classes have weights and pixels are ignored.
        loss_decode=dict(class_weight=[0.3] + [1.0] * 7, reduction="none"),
    ),
)

iterations = 450
train_cfg = dict(max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=0, end=iterations, eta_min=1e-5),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=iterations))
