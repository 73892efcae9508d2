# LSNet-T on the synthetic Shapes set, one shape an image, learnt from scratch in minutes on two CPU
# cores.
_base_ = "lsnet_t_imagenet.py"

data_root = "data/shapes_imagenet/"
# mmpretrain numbers the folders in alphabetical order.
metainfo = dict(
    classes=("crescent", "cross", "ellipse", "rectangle", "ring", "star", "triangle"),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    pin_memory=False,
    sampler=dict(_delete_=True, type="DefaultSampler", shuffle=True),
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

model = dict(
    data_preprocessor=dict(num_classes=len(metainfo["classes"])),
    head=dict(num_classes=len(metainfo["classes"])),
    train_cfg=None,
)

epochs = 6
train_cfg = dict(max_epochs=epochs, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), visualization=dict(resize=320))
