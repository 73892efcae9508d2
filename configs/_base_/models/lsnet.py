# LSNet-T as a classifier: mixup and cutmix in turn, smoothed labels.
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(type="LSNet", arch="t", out_indices=(3,), norm_eval=False, resolution=4),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LSNetClsHead",
        in_channels=384,
        num_classes=1000,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    train_cfg=dict(
        augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
