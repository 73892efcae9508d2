_base_ = [
    "_base_/models/upernet_lsnet.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/ade20k_160k.py",
    "_base_/seg_runtime.py",
]

train_dataloader = dict(batch_size=2)
default_hooks = dict(checkpoint=dict(interval=16000))
