"""ResNet-50 and DeiT-T with LS convolutions: sizes, recipes, and training by our tools."""

import pytest
import torch
from mmengine.registry import MODELS

from lsnet_mm.benchmark.measure import macs
from lsnet_mm.models import LSConv, LSConv2d
from tests.configs.recipes import learning_rates, parameter_groups, read
from tests.conftest import ROOT
from tests.engine.test_classifiers import on_shapes
from tests.engine.test_run import arguments, run_test, run_train

NAMES = ("resnet50_lsconv_imagenet", "deit_tiny_lsconv_imagenet")
PLAIN_RESNET50, PLAIN_DEIT_TINY = 25_557_032, 5_717_416
WIDTHS = {64: 3, 128: 4, 256: 6, 512: 3}  # of ResNet-50's 3x3 convolutions, and how many of each
# Table 9 of the paper: GFLOPs (multiply-adds) before and after, top-1 before and after.
PUBLISHED = {"ResNet-50": ("4.1", "2.6", "78.8", "80.7"), "DeiT-T": ("1.3", "0.9", "72.2", "73.0")}


def ls_conv_parameters(channels: int) -> int:
    """Of the usual sizes: 7, 3 and groups of 8."""
    half, kernels = channels // 2, 9 * channels // 8
    first, context, second = channels * half, 49 * half, half * half
    norms = 3 * 2 * half + 2 * kernels + 2 * channels
    return first + context + second + half * kernels + kernels + norms


def resnet50_parameters() -> int:
    replaced = sum(n * 9 * c * c for c, n in WIDTHS.items())
    return PLAIN_RESNET50 - replaced + sum(n * ls_conv_parameters(c) for c, n in WIDTHS.items())


def deit_tiny_parameters() -> int:
    attention = 192 * 3 * 192 + 3 * 192 + 192 * 192 + 192
    class_token = 2 * 192  # and its place
    return PLAIN_DEIT_TINY - class_token + 12 * (ls_conv_parameters(192) - attention)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "parameters", "layers", "kind", "network"),
    [
        (NAMES[0], resnet50_parameters(), 16, LSConv2d, "ResNet-50"),
        (NAMES[1], deit_tiny_parameters(), 12, LSConv, "DeiT-T"),
    ],
)
def test_sizes_are_the_papers_and_the_documents(name, parameters, layers, kind, network):
    model = MODELS.build(read(name).model).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(isinstance(m, kind) for m in model.modules()) == layers
    x = torch.randn(1, 3, 224, 224)
    gmacs = macs(lambda: model(x)) / 1e9
    assert model(x).shape == (1, 1000)
    before, after, top1, ours = PUBLISHED[network]
    assert f"{gmacs:.1f}" == after

    config = (ROOT / f"configs/{name}.py").read_text()
    comment = " ".join(line.lstrip("# ") for line in config.splitlines() if line.startswith("#"))
    assert f"{ours}% top-1 at {after} GFLOPs for it, and {top1}% at {before}" in comment
    rows = (ROOT / "docs/ls_convolution.md").read_text()
    row = next(line for line in rows.splitlines() if f"{name}.py" in line and line[0] == "|")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:] == [f"{parameters / 1e6:.1f} M", f"{gmacs:.2f}", after, ours]


@pytest.mark.parametrize(("name", "rate", "epochs"), [(NAMES[0], 1e-3, 310), (NAMES[1], 5e-4, 300)])
def test_recipes(name, rate, epochs):
    """LSNet-B's, and DeiT's: rates for every 512 images."""
    cfg = read(name)
    model = MODELS.build(cfg.model)
    groups = parameter_groups(cfg, model)
    for key, parameter in model.named_parameters():
        free = parameter.ndim == 1 or key.endswith((".bias", "pos_embed"))
        assert groups[key]["weight_decay"] == (0 if free else 0.05), key
        assert groups[key]["lr"] == rate * 2048 / 512
    assert cfg.train_cfg.max_epochs == epochs
    rates = learning_rates(cfg, epochs)
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) == pytest.approx(rate * 4, rel=1e-2)
    assert rates[-1] == pytest.approx(1e-5, rel=0.05)
    assert cfg.model.head.loss.type == "LabelSmoothLoss"
    assert [a.type for a in cfg.model.train_cfg.augments] == ["Mixup", "CutMix"]
    clipped = any(hook.type == "AdaptiveClipHook" for hook in cfg.custom_hooks)
    assert clipped == (name == NAMES[0])


@pytest.mark.parametrize("name", NAMES)
def test_trains_and_is_measured_by_our_tools(name, shapes_as_imagenet, tmp_path):
    small = ("train_dataloader.dataset.pipeline.1.scale=64",)
    options = on_shapes(shapes_as_imagenet, *small, "train_cfg.max_epochs=1")
    path = str(ROOT / f"configs/{name}.py")
    torch.manual_seed(0)
    run_train(arguments(path, tmp_path, *options))
    checkpoint = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    state = checkpoint["state_dict"]
    assert all(torch.isfinite(v).all() for v in state.values())
    assert {int(s["step"]) for s in checkpoint["optimizer"]["state"].values()} == {4}
    seen = {int(v) for k, v in state.items() if k.endswith("lkp.cv1.bn.num_batches_tracked")}
    assert seen == {4}
    args = arguments(path, tmp_path / "test", *on_shapes(shapes_as_imagenet), fold=True)
    args.checkpoint = str(tmp_path / "epoch_1.pth")
    assert set(run_test(args)) == {"accuracy/top1", "accuracy/top5"}
