# tools/test.py on ImageNet-A: top-1 among its 200 classes.
_base_ = "lsnet_t_imagenet.py"

data_root = "data/imagenet-a/"
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ImageNetVariant",
        data_root=data_root,
        subset="a",
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = dict(_delete_=True, type="SubsetAccuracy")
