_base_ = "lsnet_t_distill_imagenet.py"

model = dict(backbone=dict(arch="s"), head=dict(in_channels=448))
