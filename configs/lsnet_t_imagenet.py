_base_ = [
    "_base_/models/lsnet.py",
    "_base_/datasets/imagenet.py",
    "_base_/schedules/imagenet_300e.py",
    "_base_/cls_runtime.py",
]
