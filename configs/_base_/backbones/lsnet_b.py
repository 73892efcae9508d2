# LSNet-B for configs of other libraries: as lsnet_t.py.
_base_ = "lsnet_t.py"

lsnet = dict(
    arch="b",
    init_cfg=dict(
        checkpoint="https://huggingface.co/jameslahm/lsnet/resolve/main/lsnet_b.pth",
    ),
)
lsnet_channels = [128, 256, 384, 512]
lsnet_fpn = dict(in_channels=lsnet_channels)
lsnet_pyramid = dict(in_channels=lsnet_channels[:3])
lsnet_d8 = dict(in_channels=lsnet_channels)
lsnet_d8_aux = dict(in_channels=lsnet_channels[:3])
