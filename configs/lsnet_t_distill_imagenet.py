# A second head learns the hard labels of the teacher that DeiT used, a RegNetY-16GF (82.9 top-1).
_base_ = "lsnet_t_imagenet.py"

model = dict(
    type="DistilledClassifier",
    teacher=dict(type="TimmClassifier", model_name="regnety_160.deit_in1k", pretrained=True),
    head=dict(distillation=dict(kind="hard", alpha=0.5)),
)
