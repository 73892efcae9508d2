"""tools/export.py on tiny networks: every task, against PyTorch; refusals leave no file."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lsnet_mm.deploy import load
from lsnet_mm.deploy.export import optional
from lsnet_mm.deploy.runtime import paste_masks
from lsnet_mm.deploy.tool import export, load_model
from lsnet_mm.deploy.wrappers import graph
from lsnet_mm.errors import InputError
from tests import golden
from tests.conftest import ROOT, exports

TINY = dict(channels=(16, 16, 32, 32), depths=(0, 1, 2, 2))
SMALL_REGRESSION = ("retina_reg.weight", "rpn_reg.weight", "fc_reg.weight")


def config(task: str, folder: Path) -> Config:
    """A recipe with a tiny network, written to ``folder`` as its user would."""
    arch = dict(_delete_=True, **TINY)
    channels = [16, 16, 32, 32]
    neck = dict(in_channels=channels, out_channels=16)
    model, base = {
        "cls": (dict(backbone=dict(arch=arch), head=dict(in_channels=32)), "lsnet_t_shapes"),
        "seg": (
            dict(
                backbone=dict(arch=arch, resolution=4),
                neck=neck,
                decode_head=dict(in_channels=[16] * 4, channels=16),
            ),
            "fpn_lsnet_t_shapes",
        ),
        "det": (
            dict(
                backbone=dict(arch=arch, resolution=4),
                neck=neck,
                bbox_head=dict(in_channels=16, feat_channels=16),
                test_cfg=dict(nms_pre=100, max_per_img=20),
            ),
            "retinanet_lsnet_t_shapes",
        ),
        "mask": (
            dict(
                backbone=dict(arch=arch, resolution=4),
                neck=neck,
                rpn_head=dict(in_channels=16, feat_channels=16),
                roi_head=dict(
                    bbox_roi_extractor=dict(out_channels=16),
                    bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=5),
                    mask_roi_extractor=dict(out_channels=16),
                    mask_head=dict(
                        in_channels=16, conv_out_channels=16, num_convs=1, num_classes=5
                    ),
                ),
                test_cfg=dict(
                    rpn=dict(nms_pre=60, max_per_img=40), rcnn=dict(score_thr=0.1, max_per_img=15)
                ),
            ),
            "mask_rcnn_lsnet_t_coco",
        ),
    }[task]
    file = folder / f"{task}.py"
    file.write_text(f"_base_ = {str(ROOT / f'configs/{base}.py')!r}\nmodel = {model!r}\n")
    return Config.fromfile(file)


@torch.no_grad()
def build(cfg: Config) -> nn.Module:
    init_default_scope(cfg.default_scope)
    model = golden.fill(revert_sync_batchnorm(MODELS.build(cfg.model)))
    for key, tensor in model.state_dict().items():
        if key.endswith("retina_cls.bias"):
            tensor.fill_(-2)
        if key.endswith(SMALL_REGRESSION):
            tensor.mul_(0.2)
    return model.eval()


def arguments(task: str, folder: Path, **others) -> Namespace:
    """The tool's, for a network of weights by formula."""
    cfg = config(task, folder)
    torch.save(build(cfg).state_dict(), folder / "net.pth")
    usual = dict(
        config=str(folder / f"{task}.py"), checkpoint=str(folder / "net.pth"), format="onnx",
        out=str(folder / "out/net.onnx"), size=(128, 160), dynamic_size=False, logits=False,
        fp16=False, int8=None, calibration_images=4, samples=None, tolerance=None,
        cfg_options=None, launcher="none", work_dir=str(folder / "work"), trust_checkpoint=False,
    )  # fmt: skip
    return Namespace(**{**usual, **others})


@exports
def test_classifier_by_the_tool(tmp_path):
    args = arguments("cls", tmp_path)
    run = subprocess.run(
        [
            sys.executable, "tools/export.py", args.config, args.checkpoint,
            "--out", args.out, "--size", "64x96", "--fp16",
        ],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "largest difference to PyTorch: scores" in run.stdout
    runtime = load(args.out, threads=1)
    model = build(config("cls", tmp_path))
    x = golden.images(0, (3, 3, 64, 96))
    with torch.no_grad():
        want = model(x).softmax(1).numpy()
    np.testing.assert_allclose(runtime(x.numpy())[0], want, atol=2e-2)
    metadata = runtime.metadata
    assert (metadata["task"], metadata["precision"]) == ("classification", "float16")
    assert metadata["classes"][:2] == ["crescent", "cross"]
    assert metadata["config"] == "cls"
    assert metadata["preprocess"]["size"] == [64, 96]
    assert metadata["preprocess"]["channels"] == "rgb"


@exports
def test_segmentor_of_any_size(tmp_path):
    out = tmp_path / "net.xml"
    args = arguments("seg", tmp_path, format="openvino", out=str(out), logits=True)
    args.dynamic_size = True
    export(args)
    assert not list(tmp_path.glob("*.onnx"))
    runtime = load(out, threads=1)
    model = build(config("seg", tmp_path))
    x = golden.images(0, (2, 3, 96, 224))
    meta = dict(img_shape=(96, 224), ori_shape=(96, 224))
    with torch.no_grad():
        want = model.encode_decode(x, [meta] * 2)
    labels, logits = runtime(x.numpy())
    np.testing.assert_allclose(logits, want.numpy(), atol=1e-3 * want.std().item())
    assert (labels == want.argmax(1).numpy()).mean() > 0.999
    assert runtime.metadata["palette"][0] == [128, 128, 128]
    assert runtime.outputs == ["labels", "logits"]


@exports
@pytest.mark.parametrize(("task", "format"), [("det", "onnx"), ("mask", "openvino")])
def test_detector(task, format, tmp_path, capsys):
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[format]
    args = arguments(task, tmp_path, format=format, out=str(tmp_path / f"net{suffix}"))
    args.size, args.dynamic_size = ((256, 192), True) if task == "det" else ((128, 160), False)
    export(args)
    assert "detections 0" in capsys.readouterr().out
    runtime = load(args.out, threads=1)
    model = build(config(task, tmp_path))
    x, shape = golden.images(4242, (1, 3, 128, 160)), (120, 150)
    sample = DetDataSample(
        metainfo=dict(img_shape=shape, ori_shape=(240, 300), scale_factor=(0.5, 0.5))
    )
    with torch.no_grad():
        (result,) = model.predict(x, [sample], rescale=True)
    want = result.pred_instances
    boxes, scores, labels, *masks = runtime(x.numpy(), np.float32(shape), np.float32([0.5, 0.5]))
    found = scores > 0
    assert found.sum() == len(want) > 0
    np.testing.assert_allclose(scores[found], want.scores, atol=1e-4)
    # Scores may tie, so rows are compared in the order of their labels and boxes.
    rows = np.column_stack([labels[found], boxes[found]])
    wanted = np.column_stack([want.labels, want.bboxes])
    order, right = (np.lexsort(np.round(r[:, ::-1], 1).T) for r in (rows, wanted))
    np.testing.assert_allclose(rows[order], wanted[right], atol=1e-2)
    if masks:
        pasted = paste_masks(masks[0][found], boxes[found], (240, 300))
        assert (pasted[order] == want.masks.numpy()[right]).mean() > 0.999


@exports
def test_detectors_with_torch_alone(tmp_path):
    args = arguments("det", tmp_path, format="torch-export", out=str(tmp_path / "net.pt2"))
    export(args)
    code = f"""
import torch, torchvision
net = torch.export.load({args.out!r}).module()
found = net(torch.rand(1, 3, 128, 160), torch.tensor([128., 160.]), torch.ones(2))
print([tuple(t.shape) for t in found])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[(20, 4), (20,), (20,)]"


@exports
def test_int8_tells_accuracy_beside_float32(shapes_by_class, tmp_path, capsys):
    options = [f"data_root={shapes_by_class}", "test_dataloader.num_workers=0"]
    options.append("test_dataloader.persistent_workers=False")
    args = arguments("cls", tmp_path, cfg_options=options, size=(120, 160))
    args.int8 = str(shapes_by_class / "val")
    export(args)
    assert "accuracy/top1: float32" in capsys.readouterr().out
    runtime = load(args.out, threads=1)
    assert runtime.metadata["precision"] == "int8"
    x = golden.images(0, (2, 3, 120, 160))
    np.testing.assert_allclose(runtime(x.numpy())[0].sum(1), 1, rtol=1e-5)


@exports
def test_other_results_leave_no_file(tmp_path):
    with pytest.raises(InputError, match=r"scores differ by .* nothing was kept"):
        export(arguments("cls", tmp_path, tolerance=0.0))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(out="net.xml"), "onnx files end in .onnx"),
        (dict(int8="images", fp16=True), "without --fp16"),
        (
            dict(format="torch-export", out="net.pt2", fp16=True),
            "--fp16 goes with --format onnx ",
        ),
        (dict(checkpoint="nowhere.pth"), "checkpoint not found: nowhere.pth"),
        (dict(logits=True), "--logits is for segmentors"),
    ],
)
def test_bad_arguments(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export(arguments("cls", tmp_path, **change))


def test_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install openvino"):
        optional("openvino")


def test_unknown_networks_are_refused():
    with pytest.raises(InputError, match="Linear cannot be exported"):
        graph(nn.Linear(2, 2))


def test_files_that_cannot_be_loaded(tmp_path):
    with pytest.raises(InputError, match=r"ends in .onnx, .xml, .pt2"):
        load(tmp_path / "net.txt")
    with pytest.raises(InputError, match="exported file not found"):
        load(tmp_path / "net.onnx")


@exports
def test_a_detector_that_finds_nothing_is_exported_with_a_remark(tmp_path, capsys, shapes):
    picture = next((shapes / "val2017").glob("*.jpg"))
    options = ["model.test_cfg.score_thr=1.0"]
    args = arguments("det", tmp_path, cfg_options=options, samples=[str(picture)])
    assert export(args).is_file()
    assert "finds nothing on these images" in capsys.readouterr().out
    args = arguments("det", tmp_path, samples=[str(ROOT / "README.md")])
    with pytest.raises(InputError, match=r"--samples: .*README\.md is not an image"):
        export(args)


def test_loading_leaves_the_config_as_it_is(tmp_path):
    cfg = Config.fromfile(ROOT / "configs/lsnet_t_imagenet.py")
    init_default_scope(cfg.default_scope)
    given = cfg.model.to_dict()
    weights = str(tmp_path / "weights.pth")
    torch.save(MODELS.build({**cfg.model.to_dict(), "train_cfg": None}).state_dict(), weights)
    load_model(cfg, weights)
    assert cfg.model.to_dict() == given
