# The published schedule for ImageNet: 300 epochs, 8 GPUs x 256 images, AdamW at 1e-3 for every 512
# images, adaptive gradient clipping, no AMP, no weight averaging; then 10 epochs of cool-down at
# the lowest rate. (The authors' logs end before the cool-down: train_cfg.max_epochs=300.)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=310, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, eps=1e-8, betas=(0.9, 0.999), weight_decay=0.025),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={"attention_biases": dict(decay_mult=0.0)},
    ),
)
# From 1e-6 up over five epochs; the cosine counts from the first epoch, not from the end of these.
# (mmengine's schedulers leave out their `end`.)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6 / 4e-3, begin=0, end=6),
    dict(type="CosineAnnealingLR", T_max=300, eta_min=1e-5, begin=0, end=301),
]
custom_hooks = [dict(type="DataFitHook"), dict(type="AdaptiveClipHook", factor=0.02)]
# `--auto-scale-lr` scales the learning rate by (total batch / base_batch_size).
auto_scale_lr = dict(enable=False, base_batch_size=2048)
