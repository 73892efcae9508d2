# tools/test.py on ImageNet-R: top-1 among its 200 classes.
_base_ = "lsnet_t_imagenet_a.py"

data_root = "data/imagenet-r/"
test_dataloader = dict(dataset=dict(data_root=data_root, subset="r"))
