# LSNet-T for configs of other libraries: a base beside theirs, of which they take what they need.
# docs/compatibility.md shows how.
custom_imports = dict(imports=["lsnet_mm"], allow_failed_imports=False)

lsnet = dict(
    _delete_=True,
    type="LSNet",
    arch="t",
    init_cfg=dict(
        type="Pretrained",
        checkpoint="https://huggingface.co/jameslahm/lsnet/resolve/main/lsnet_t.pth",
    ),
)
lsnet_channels = [64, 128, 256, 384]  # of the maps at strides 8, 16, 32 and 64

# The pixels that the published weights take.
lsnet_pixels = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)

# In the place of a detector's FPN that starts at stride 4: one level more than LSNet's maps.
lsnet_fpn = dict(type="LSNetFPN", in_channels=lsnet_channels, num_extra_trans_convs=1)
# In front of another neck that starts there: strides 4 to 32, of three of LSNet's maps.
lsnet_pyramid = dict(
    type="LSNetFPN",
    in_channels=lsnet_channels[:3],
    out_channels=256,
    num_outs=4,
    num_extra_trans_convs=1,
)
# For segmentation heads on the dilated last stage of a network ("d8"), and on the one before it:
# LSNet's maps up to that stage, brought to stride 8.
lsnet_d8 = dict(in_channels=lsnet_channels, in_index=[0, 1, 2, 3], input_transform="resize_concat")
lsnet_d8_aux = dict(
    in_channels=lsnet_channels[:3], in_index=[0, 1, 2], input_transform="resize_concat"
)
