# tools/test.py on ImageNet-Sketch: top-1 and top-5 of all 1000 classes.
_base_ = "lsnet_t_imagenet_a.py"

data_root = "data/imagenet-sketch/"
test_dataloader = dict(dataset=dict(data_root=data_root, subset=None))
test_evaluator = dict(_delete_=True, type="Accuracy", topk=(1, 5))
