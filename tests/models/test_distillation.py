"""Distillation: what is learnt from whom, and where the teacher is kept out of."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from lsnet_mm.errors import CheckpointError, InputError
from lsnet_mm.models.cls_head import DistillationLoss

CLASSES = 5
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
ARCH = dict(channels=(8, 8, 16, 16), depths=(0, 1, 2, 2))
TIMM = dict(type="TimmClassifier", model_name="resnet18", num_classes=CLASSES)


def mm_teacher(**preprocessor) -> dict:
    """A mmpretrain classifier, small and with BatchNorm."""
    return dict(
        type="ImageClassifier",
        data_preprocessor=preprocessor or None,
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=CLASSES, in_channels=64),
    )


def student(teacher, checkpoint=None, **distillation) -> nn.Module:
    return MODELS.build(
        dict(
            type="DistilledClassifier",
            teacher=teacher,
            teacher_checkpoint=checkpoint and str(checkpoint),
            data_preprocessor=dict(num_classes=CLASSES, **IMAGENET),
            backbone=dict(type="LSNet", arch=ARCH, out_indices=(3,), norm_eval=False, resolution=4),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LSNetClsHead",
                in_channels=16,
                num_classes=CLASSES,
                distillation=dict(kind="hard", **distillation),
            ),
        )
    )


@pytest.fixture(scope="module", autouse=True)
def _scope() -> None:
    init_default_scope("mmpretrain")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints of one teacher from each library."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(1)
    for name, cfg in (("mm", mm_teacher()), ("timm", dict(TIMM))):
        model = MODELS.build(cfg)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics that eval and train mode differ by
                module.running_mean.normal_()
        torch.save(dict(state_dict=model.state_dict()), folder / f"{name}.pth")
    return folder


@pytest.fixture
def model(weights) -> nn.Module:
    model = student(mm_teacher(), weights / "mm.pth")
    model.init_weights()
    return model.train()


def batch() -> tuple[torch.Tensor, list[DataSample]]:
    labels = (0, 3, 4)
    return torch.randn(3, 3, 64, 64), [DataSample().set_gt_label(i) for i in labels]


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_soft_loss_is_the_divergence_of_softened_scores(tau):
    scores, teacher = torch.randn(4, CLASSES), torch.randn(4, CLASSES)
    p, q = (torch.softmax(x.double() / tau, 1) for x in (teacher, scores))
    want = (p * (p / q).log()).sum() * tau**2 / scores.numel()
    got = DistillationLoss("soft", tau=tau)(scores, teacher)
    assert got.item() == pytest.approx(want.item(), rel=1e-5)
    assert DistillationLoss("soft", tau=tau)(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_hard_loss_is_cross_entropy_with_the_teachers_choice():
    scores, teacher = torch.randn(4, CLASSES), torch.randn(4, CLASSES)
    got = DistillationLoss("hard")(scores, teacher)
    chosen = torch.log_softmax(scores, 1)[range(4), teacher.argmax(1)]
    assert got.item() == pytest.approx(-chosen.mean().item())


@pytest.mark.parametrize("bad", [dict(kind="warm"), dict(alpha=1.5), dict(tau=0.0)])
def test_loss_refuses_what_is_out_of_range(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))!r}"):
        DistillationLoss(**bad)


def test_each_head_learns_from_its_own_target(model):
    inputs, samples = batch()
    losses = model.loss(inputs, samples)
    assert set(losses) == {"loss_labels", "loss_teacher"}
    (by_label,) = torch.autograd.grad(
        losses["loss_labels"], model.head.head.linear.weight, retain_graph=True
    )
    assert by_label.abs().sum() > 0
    for loss, other in (("loss_labels", "head_dist"), ("loss_teacher", "head")):
        weight = getattr(model.head, other).linear.weight
        (none,) = torch.autograd.grad(losses[loss], weight, retain_graph=True, allow_unused=True)
        assert none is None
    stem = model.backbone.patch_embed[0].c.weight
    for loss in losses.values():
        (shared,) = torch.autograd.grad(loss, stem, retain_graph=True)
        assert shared.abs().sum() > 0


def test_losses_are_weighted_by_alpha(weights):
    inputs, samples = batch()
    values = {}
    for alpha in (0.0, 0.25, 1.0):
        torch.manual_seed(0)
        model = student(mm_teacher(), weights / "mm.pth", alpha=alpha)
        model.init_weights()
        values[alpha] = {k: v.item() for k, v in model.train().loss(inputs, samples).items()}
    assert values[0.0]["loss_teacher"] == values[1.0]["loss_labels"] == 0
    assert values[0.25]["loss_labels"] == pytest.approx(0.75 * values[0.0]["loss_labels"])
    assert values[0.25]["loss_teacher"] == pytest.approx(0.25 * values[1.0]["loss_teacher"])


def test_predictions_average_both_heads(model):
    inputs, _ = batch()
    model.eval()
    with torch.no_grad():
        feats = model.extract_feat(inputs)
        both = model.head.head(feats[-1]), model.head.head_dist(feats[-1])
        torch.testing.assert_close(model(inputs), (both[0] + both[1]) / 2)
        (first, *_) = model.predict(inputs)
    assert first.pred_score.sum().item() == pytest.approx(1)


def test_teacher_is_frozen_in_eval_and_out_of_everything(model):
    teacher = model.teacher.model
    before = copy.deepcopy(teacher.state_dict())
    assert not any(p.requires_grad for p in teacher.parameters())
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type="SGD", lr=1.0, weight_decay=0.1)))
    inputs, samples = batch()
    losses = model.train().loss(inputs, samples)
    wrapper.update_params(sum(losses.values()))
    assert not any(m.training for m in teacher.modules())
    after = teacher.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for p in teacher.parameters())
    known = {id(p) for group in wrapper.optimizer.param_groups for p in group["params"]}
    assert not known & {id(p) for p in teacher.parameters()}
    assert not any("teacher" in k for k in model.state_dict())
    assert {k.split(".")[0] for k in model.state_dict()} == {"backbone", "head"}


def test_teacher_moves_and_casts_with_the_student(model):
    model.double()
    assert {p.dtype for p in model.teacher.model.parameters()} == {torch.float64}
    assert model.teacher(torch.randn(2, 3, 32, 32).double()).dtype == torch.float64


@torch.no_grad()
def test_teacher_gets_images_in_its_own_normalisation(weights):
    """A timm model of other statistics and a BGR one score what they would score themselves."""
    images = torch.randint(0, 256, (2, 3, 32, 32)).float()  # RGB
    mean, std = (torch.tensor(IMAGENET[k]).view(3, 1, 1) for k in ("mean", "std"))
    bgr = dict(mean=[103.5, 116.3, 123.7], std=[1.0, 1.0, 1.0], to_rgb=False)
    cfg = dict(mean=(0.5, 0.5, 0.4), std=(0.5, 0.25, 0.5))
    teachers = [
        (mm_teacher(**bgr), "mm", (images.flip(1) - mean.flip(0).round(decimals=1)).clone()),
        (
            dict(TIMM, pretrained_cfg=cfg),
            "timm",
            (images / 255 - torch.tensor(cfg["mean"]).view(3, 1, 1))
            / torch.tensor(cfg["std"]).view(3, 1, 1),
        ),
        (dict(TIMM), "timm", (images - mean) / std),
    ]
    for teacher, name, wanted in teachers:
        model = student(teacher, weights / f"{name}.pth")
        model.init_weights()
        alone = MODELS.build(dict(teacher)).eval()
        alone.load_state_dict(torch.load(weights / f"{name}.pth")["state_dict"])
        torch.testing.assert_close(
            model.teacher((images - mean) / std), alone(wanted), rtol=1e-4, atol=1e-4
        )


def test_teacher_is_fetched_for_training_only(weights):
    model = student(mm_teacher(), "not there.pth")
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, CLASSES)
    with pytest.raises(InputError, match="call init_weights"):
        model.train().loss(*batch())


@pytest.mark.parametrize(
    ("teacher", "checkpoint", "message"),
    [
        (TIMM, None, "the teacher would have random weights"),
        (dict(TIMM, model_name="resnet_none"), None, r"could not make .*resnet_none"),
        ("resnet-none", None, "could not make the teacher 'resnet-none'"),
        (TIMM, "mm.pth", "is not of this teacher"),
    ],
)
def test_teacher_that_cannot_be_had_is_named(teacher, checkpoint, message, weights):
    model = student(teacher, checkpoint and weights / checkpoint)
    with pytest.raises(InputError, match=message):
        model.init_weights()


def test_teacher_of_other_classes_is_refused(tmp_path):
    other = dict(TIMM, num_classes=7)
    torch.save(MODELS.build(dict(other)).state_dict(), tmp_path / "t.pth")
    model = student(other, tmp_path / "t.pth")
    model.init_weights()
    with pytest.raises(ValueError, match=r"scores of shape \(3, 5\), got \(3, 7\)"):
        model.train().loss(*batch())


def test_missing_teacher_file_is_an_error_of_the_checkpoint(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read"):
        student(TIMM, tmp_path / "bad.pth").init_weights()
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        student(TIMM, tmp_path / "none.pth").init_weights()


def test_head_without_a_teacher_says_what_it_needs(weights):
    model = student(mm_teacher(), weights / "mm.pth").train()
    inputs, samples = batch()
    with pytest.raises(ValueError, match="train it in a DistilledClassifier"):
        model.head.loss(model.extract_feat(inputs), samples)


def test_plain_head_is_batch_norm_and_linear():
    head = MODELS.build(dict(type="LSNetClsHead", in_channels=16, num_classes=CLASSES))
    head.init_weights()
    x = torch.randn(64, 16) * 3 + 1
    out = head.train()((x,))
    normal = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(out, normal @ head.head.linear.weight.T, rtol=1e-4, atol=1e-5)
    assert 0.01 < head.head.linear.weight.std().item() < 0.03
    samples = [DataSample().set_gt_label(i % CLASSES) for i in range(64)]
    want = F.cross_entropy(out, torch.arange(64) % CLASSES)
    assert head.loss((x,), samples)["loss"].item() == pytest.approx(want.item(), rel=1e-5)
