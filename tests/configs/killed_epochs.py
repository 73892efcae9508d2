# A tiny classifier with all that has a state of its own: random augmentation in workers and on
# batches, dropout, averaged weights, mixed precision, gradients accumulated across epochs,
# schedules by iteration and by epoch, a best checkpoint, early stopping.
default_scope = "mmpretrain"
custom_imports = dict(imports=["lsnet_mm"], allow_failed_imports=False)
data_root = "data/shapes/"
num_classes = 10

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(num_classes=num_classes, mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type="LSNet", arch=dict(channels=(8, 16, 16, 32), depths=(0, 1, 1, 1)), resolution=4
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="StackedLinearClsHead",
        num_classes=num_classes,
        in_channels=32,
        mid_channels=[16],
        dropout_rate=0.2,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    train_cfg=dict(augments=dict(type="Mixup", alpha=0.8)),
)
load = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 64))]
train_pipeline = [
    *load,
    dict(type="RandomFlip", prob=0.5),
    dict(type="ColorJitter", brightness=0.5, contrast=0.5),
    dict(type="RandomErasing", erase_prob=0.5),
    dict(type="PackInputs"),
]
dataset = dict(type="CustomDataset", data_root=data_root, data_prefix="train")
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, indices=10, pipeline=train_pipeline),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, pipeline=[*load, dict(type="PackInputs")]),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=3)
val_cfg = dict()
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.01),
    accumulative_counts=2,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=8),
    dict(type="MultiStepLR", milestones=[1, 2], gamma=0.5, by_epoch=True),
]
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=1, save_best="accuracy/top1")
)
custom_hooks = [
    dict(type="EMAHook", momentum=0.2),
    dict(type="EarlyStoppingHook", monitor="accuracy/top1", rule="greater", patience=9),
]
randomness = dict(seed=3)
