_base_ = [
    "_base_/models/fpn_lsnet.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/ade20k_40k.py",
    "_base_/seg_runtime.py",
]
