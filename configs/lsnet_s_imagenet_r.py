_base_ = "lsnet_t_imagenet_r.py"

model = dict(backbone=dict(arch="s"), head=dict(in_channels=448))
