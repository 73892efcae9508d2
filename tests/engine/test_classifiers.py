"""The released classifiers through mmpretrain and our tools, and training as published."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, OPTIMIZERS, init_default_scope
from mmpretrain import ImageClassificationInferencer, get_model
from torch import nn

from lsnet_mm.errors import CheckpointError
from tests import golden
from tests.conftest import ROOT
from tests.engine.test_run import arguments, run_test, run_train

NUMBERS = golden.load("classifier")
NAMES = [f"lsnet_{arch}{kind}" for arch in "tsb" for kind in ("", "_distill")]
SMALL = """
_base_ = {base!r}
arch = dict(_delete_=True, channels=(16, 16, 32, 32), depths=(0, 1, 2, 2))
model = dict(backbone=dict(arch=arch), head=dict(in_channels=32))
"""


def published_file(name: str, folder: Path) -> Path:
    """A checkpoint as the authors' training script wrote the released ones, training state too."""
    shapes = golden.state_dict_shapes()[f"classifier_{name}"]
    weights = {k: golden.weight(k, tuple(v)).float() for k, v in shapes.items()}
    for key, value in weights.items():
        if key.endswith(("attention_bias_idxs", "num_batches_tracked")):
            weights[key] = torch.zeros_like(value, dtype=torch.long)
    state = dict(optimizer={"state": {}}, lr_scheduler={}, epoch=299, model_ema=weights, scaler={})
    path = folder / f"{name}.pth"
    torch.save(dict(model=weights, args=Namespace(model=name, lr=1e-3), **state), path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {name: published_file(name, folder) for name in NAMES}


def config(name: str) -> str:
    return str(ROOT / f"configs/{name}_imagenet.py")


@pytest.mark.parametrize("name", NAMES)
def test_logits_through_mmpretrains_own_loading(name, published):
    model = get_model(config(name), pretrained=str(published[name])).eval()
    with torch.no_grad():
        logits = model(golden.images(224, (2, 3, 224, 224)))
    want = NUMBERS[f"{name}/logits_224"]
    np.testing.assert_allclose(logits.numpy(), want, rtol=0, atol=1e-4 * want.std())


@pytest.mark.parametrize("name", ["lsnet_t", "lsnet_t_distill"])
def test_inferencer_names_what_it_sees(name, published, shapes_as_imagenet):
    init_default_scope("mmpretrain")  # other tests leave theirs
    image = str(next(shapes_as_imagenet.glob("val/*/*.jpg")))
    inferencer = ImageClassificationInferencer(
        config(name), pretrained=str(published[name]), device="cpu"
    )
    (result,) = inferencer(image)
    assert result["pred_scores"].shape == (1000,)
    assert result["pred_scores"].sum() == pytest.approx(1, abs=1e-4)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    assert result["pred_class"] == IMAGENET_CATEGORIES[int(result["pred_scores"].argmax())]


def on_shapes(data: Path, *options: str) -> list[str]:
    """Options that read a small ImageNet in this process."""
    return [
        f"data_root={data}",
        *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
        *(f"{loader}_dataloader.persistent_workers=False" for loader in ("train", "val", "test")),
        *(f"{loader}_dataloader.batch_size=4" for loader in ("train", "val", "test")),
        *options,
    ]


@pytest.mark.parametrize("name", ["lsnet_t", "lsnet_t_distill"])
def test_published_checkpoint_is_loaded_whole(name, published, shapes_as_imagenet, tmp_path):
    """Every tensor of the authors' file is matched (the hook refuses anything else)."""
    args = arguments(config(name), tmp_path, *on_shapes(shapes_as_imagenet))
    args.checkpoint = str(published[name])
    assert set(run_test(args)) == {"accuracy/top1", "accuracy/top5"}


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("lsnet_t", "lsnet_t_distill", r"of this ImageClassifier: 7 .* It is a distilled"),
        ("lsnet_t_distill", "lsnet_s_distill", r"of this DistilledClassifier: .* of another shape"),
    ],
)
def test_checkpoint_of_another_classifier_is_refused(
    name, other, message, published, shapes_as_imagenet, tmp_path
):
    args = arguments(config(name), tmp_path, *on_shapes(shapes_as_imagenet))
    args.checkpoint = str(published[other])
    with pytest.raises(CheckpointError, match=message):
        run_test(args)


def small(name: str, folder: Path) -> str:
    """A config like that of ``name``, of a small network."""
    path = folder / f"small_{name}.py"
    path.write_text(SMALL.format(base=config(name)))
    return str(path)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    import timm

    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save(timm.create_model("resnet18").state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["lsnet_t", "lsnet_t_distill"])
def test_trains_and_is_measured(name, teacher, shapes_as_imagenet, tmp_path):
    path = small(name, tmp_path)
    options = on_shapes(shapes_as_imagenet, "train_cfg.max_epochs=1")
    if "distill" in name:
        options += [
            "model.teacher.model_name=resnet18",
            "model.teacher.pretrained=False",
            f"model.teacher_checkpoint={teacher}",
        ]
    run_train(arguments(path, tmp_path, *options))
    checkpoint = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    assert not any("teacher" in k for k in checkpoint["state_dict"])
    assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values())
    assert {int(s["step"]) for s in checkpoint["optimizer"]["state"].values()} == {4}
    for tta in (False, True):
        args = arguments(path, tmp_path / str(tta), *on_shapes(shapes_as_imagenet), tta=tta)
        args.checkpoint = str(tmp_path / "epoch_1.pth")
        assert set(run_test(args)) == {"accuracy/top1", "accuracy/top5"}


@pytest.mark.parametrize("amp", [False, True])
def test_gradients_are_clipped_filter_by_filter(amp, shapes_as_imagenet, tmp_path, monkeypatch):
    """Each step's gradients against a reference, and that some were clipped."""
    steps = []

    def step(optimizer: torch.optim.AdamW) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        steps.append([(p.detach().clone(), p.grad.clone()) for p in parameters])

    class Recorded(torch.optim.AdamW):
        def step(self, closure=None):
            step(self)
            return super().step(closure)

    monkeypatch.setitem(OPTIMIZERS._module_dict, "AdamW", Recorded)
    clipped, plain = [], []
    for factor, seen in ((0.02, clipped), (1e9, plain)):
        steps.clear()
        args = arguments(
            small("lsnet_t", tmp_path),
            tmp_path / str(factor),
            *on_shapes(shapes_as_imagenet, "train_cfg.max_epochs=1"),
            f"custom_hooks.1.factor={factor}",
            "randomness.seed=0",
            amp=amp,
        )
        run_train(args)
        seen += steps
    reached = 0
    for (weight, got), (same, raw) in zip(clipped[0], plain[0], strict=True):
        assert torch.equal(weight, same)
        want = reference_clip(weight, raw, 0.02)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-8)
        reached += not torch.allclose(raw, want)
    assert reached > 10


def reference_clip(weight: torch.Tensor, grad: torch.Tensor, factor: float) -> torch.Tensor:
    """Adaptive clipping as the paper has it, a filter at a time."""
    if weight.dim() < 2:
        largest = factor * max(weight.norm().item(), 1e-3)
        return grad * min(1.0, largest / max(grad.norm().item(), 1e-12))
    rows = [
        reference_clip(w.flatten(), g.flatten(), factor) for w, g in zip(weight, grad, strict=True)
    ]
    return torch.stack(rows).view_as(grad)


def test_every_config_builds_its_model():
    for path in sorted((ROOT / "configs").glob("*.py")):
        cfg = Config.fromfile(path)
        init_default_scope(cfg.default_scope)
        assert isinstance(MODELS.build(cfg.model), nn.Module), path.name
