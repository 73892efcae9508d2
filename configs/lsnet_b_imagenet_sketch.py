_base_ = "lsnet_t_imagenet_sketch.py"

model = dict(backbone=dict(arch="b"), head=dict(in_channels=512))
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
