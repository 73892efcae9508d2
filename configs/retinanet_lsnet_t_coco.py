_base_ = [
    "_base_/models/retinanet_lsnet.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/coco_1x.py",
    "_base_/det_runtime.py",
]
