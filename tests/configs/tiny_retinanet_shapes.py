# The Shapes config with a tiny network and data loaded in the main process.
_base_ = "../../configs/retinanet_lsnet_t_shapes.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, channels=(16, 16, 32, 32), depths=(0, 2, 2, 2)), resolution=4
    ),
    neck=dict(in_channels=[16, 16, 32, 32], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16),
)
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=-1))
