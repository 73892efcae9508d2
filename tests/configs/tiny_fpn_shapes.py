# The Shapes config with a tiny network and data loaded in the main process.
_base_ = "../../configs/fpn_lsnet_t_shapes.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, channels=(16, 16, 32, 32), depths=(0, 2, 2, 2)), resolution=4
    ),
    neck=dict(in_channels=[16, 16, 32, 32], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16),
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
