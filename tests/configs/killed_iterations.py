# The same by iterations, over data that end in between, with several images per batch.
_base_ = "killed_epochs.py"

train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=9, val_interval=4)
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=8)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
