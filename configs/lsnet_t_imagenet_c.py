# tools/test.py on ImageNet-C: mCE in relation to AlexNet. For distilled weights, here and in the
# other robustness sets' configs, add --cfg-options model.head.distillation.kind=hard
_base_ = "lsnet_t_imagenet.py"

data_root = "data/imagenet-c/"
load = _base_.load
crop = dict(type="CenterCrop", crop_size=224)  # and no resizing, as published
pack = dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "corruption", "severity"))
test_dataloader = dict(
    dataset=dict(_delete_=True, type="ImageNetC", data_root=data_root, pipeline=[load, crop, pack])
)
test_evaluator = dict(_delete_=True, type="MeanCorruptionError")

flips = [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)]
tta_pipeline = [load, dict(type="TestTimeAug", transforms=[[crop], flips, [pack]])]
