# One image per process in a fixed order and as it is, plain SGD: every rank's step can be redone.
_base_ = "tiny_retinanet_shapes.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    batch_size=1,
    sampler=dict(shuffle=False),
    batch_sampler=None,
    dataset=dict(indices=4, pipeline=train_pipeline),
)
model = dict(backbone=dict(norm_eval=True), neck=dict(norm_cfg=None))
train_cfg = dict(max_epochs=1, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.01, momentum=0.9, weight_decay=0.05),
    clip_grad=None,
)
param_scheduler = None
custom_imports = dict(imports=["lsnet_mm", "tests.engine.record_weights"])
custom_hooks = [dict(type="RecordWeightsHook")]
