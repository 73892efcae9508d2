"""Tools' options and errors, in this process; tiny networks, a few images."""

import json
import pickle
import socket
from argparse import Namespace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer
from torch._dynamo.testing import CompileCounterWithBackend

from lsnet_mm import engine
from lsnet_mm.engine import distributed
from lsnet_mm.errors import CheckpointError, InputError
from tests.conftest import ROOT

SHAPES = str(ROOT / "tests/configs/tiny_retinanet_shapes.py")


def arguments(config: str, work_dir: Path, *options: str, **others) -> Namespace:
    common = dict(config=config, work_dir=str(work_dir), cfg_options=list(options), launcher="none")
    common["trust_checkpoint"] = False
    train = dict(resume=None, amp=False, auto_scale_lr=False, compile=None)
    train |= dict(deterministic=False, skip_nonfinite=0)
    test = dict(show=False, show_dir=None, wait_time=0, tta=False, out=None, fold=False)
    return Namespace(**{**common, **train, **test, **others})


def forget_visualizers(kind: type[Visualizer] = Visualizer) -> None:
    """Forget the visualizers of earlier runs: mmengine keeps one, with its folder, per process."""
    kind._instance_dict.clear()
    for derived in kind.__subclasses__():
        forget_visualizers(derived)


def run_train(args: Namespace) -> None:
    forget_visualizers()
    engine.train(args)


def run_test(args: Namespace) -> dict[str, float]:
    forget_visualizers()
    return engine.test(args)


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory) -> Path:
    """Checkpoint of a tiny RetinaNet after two epochs on Shapes, in mixed precision."""
    work_dir = tmp_path_factory.mktemp("trained")
    options = (f"data_root={shapes}", "train_cfg.max_epochs=2")
    run_train(arguments(SHAPES, work_dir, *options, amp=True, auto_scale_lr=True))
    return work_dir / "epoch_2.pth"


def test_trains_in_mixed_precision_and_logs(trained):
    checkpoint = torch.load(trained, weights_only=False)
    assert checkpoint["meta"]["epoch"] == 2
    assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values())
    cfg = Config.fromstring(checkpoint["meta"]["cfg"], ".py")
    assert cfg.optim_wrapper.type == "BFloat16OptimWrapper"
    assert cfg.auto_scale_lr.enable
    lines = next(trained.parent.glob("*/vis_data/scalars.json")).read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss_cls" in line]
    assert len(losses) == 4
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("tta", [False, True])
def test_test_measures_draws_and_dumps(tta, trained, shapes, tmp_path):
    options = (f"data_root={shapes}", "model.test_cfg.score_thr=0.0")
    metrics = run_test(
        arguments(
            SHAPES,
            tmp_path,
            *options,
            checkpoint=str(trained),
            tta=tta,
            show_dir=str(tmp_path / "pictures"),
            out=str(tmp_path / "out.pkl"),
        )
    )
    assert set(metrics) >= {"coco/bbox_mAP", "coco/bbox_mAP_50", "coco/bbox_mAP_s"}
    pictures = sorted((tmp_path / "pictures").glob("*.jpg"))
    assert len(pictures) == 6
    assert cv2.imread(str(pictures[0])).shape == (120, 320, 3)  # ground truth | prediction
    predictions = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert len(predictions) == 6
    assert {"bboxes", "scores", "labels"} <= set(predictions[0]["pred_instances"])


def test_compiled_training_and_testing_end_as_eager_ones(shapes, tmp_path, monkeypatch):
    graphs = CompileCounterWithBackend("eager")  # the default one compiles for minutes
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=graphs))
    options = (f"data_root={shapes}", "train_cfg.max_epochs=1")
    results = {}
    for compile in ("default", None):
        before = graphs.frame_count
        folder = tmp_path / str(compile)
        run_train(arguments(SHAPES, folder, *options, compile=compile))
        weights = str(folder / "epoch_1.pth")
        run_test(
            arguments(SHAPES, folder, *options, checkpoint=weights, fold=True, compile=compile)
        )
        assert (graphs.frame_count > before) == bool(compile)
        results[compile] = torch.load(weights, weights_only=False)["state_dict"]
    assert results["default"].keys() == results[None].keys()
    for name, value in results[None].items():
        torch.testing.assert_close(results["default"][name], value, rtol=1e-4, atol=1e-6)


def test_compiling_without_a_compiler_is_refused_before_training(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    options = f"data_root={shapes}"
    with pytest.raises(InputError, match=r"--compile needs a C\+\+ compiler.*no-such-compiler"):
        run_train(arguments(SHAPES, tmp_path, options, compile="default"))
    assert not list(tmp_path.glob("*.pth"))


def test_mask_rcnn_trains_and_measures_masks(shapes_as_coco, tmp_path):
    """The COCO config itself, its network made small and its images kept small."""
    options = [
        f"data_root={shapes_as_coco}",
        "model.backbone.init_cfg=None",
        "train_cfg.max_epochs=1",
        "train_dataloader.dataset.indices=4",
        "val_dataloader.dataset.indices=2",
        "model.test_cfg.rcnn.score_thr=0.0",
        *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
        *(f"{loader}_dataloader.persistent_workers=False" for loader in ("train", "val", "test")),
        "train_dataloader.dataset.pipeline.2.scale=(160,120)",
        "val_dataloader.dataset.pipeline.1.scale=(160,120)",
        "test_dataloader.dataset.pipeline.1.scale=(160,120)",
    ]
    config = str(ROOT / "configs/mask_rcnn_lsnet_t_coco.py")
    run_train(arguments(config, tmp_path, *options))
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    metrics = json.loads(lines[-1])
    assert "coco/bbox_mAP" in metrics
    assert "coco/segm_mAP" in metrics
    with pytest.raises(InputError, match="mmdet has none for masks"):
        run_test(
            arguments(config, tmp_path, *options, checkpoint=str(tmp_path / "epoch_1.pth"), tta=1)
        )


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_the_same_tools_serve_the_other_libraries(scope, tmp_path):
    """A user's config with LSNet in a segmentor or classifier: trained, tested, drawn."""
    config = write_segmentation(tmp_path) if scope == "mmseg" else write_classification(tmp_path)
    work_dir = tmp_path / "work"
    run_train(arguments(config, work_dir))
    pictures = tmp_path / "pictures"
    metrics = run_test(
        arguments(config, work_dir, checkpoint=str(work_dir / "iter_2.pth"), show_dir=str(pictures))
    )
    assert ("mIoU" if scope == "mmseg" else "accuracy/top1") in metrics
    assert len(list(pictures.rglob("*.png"))) + len(list(pictures.rglob("*.jpg"))) == 4


RUNTIME = """
custom_imports = dict(imports=["lsnet_mm"], allow_failed_imports=False)
backbone = dict(
    type="LSNet", arch=dict(channels=(8, 16, 16, 32), depths=(1, 2, 2, 2)), resolution=4
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2, val_interval=2)
val_cfg, test_cfg = dict(type="ValLoop"), dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
vis_backends = [dict(type="LocalVisBackend")]
def loader(dataset, shuffle):
    return dict(batch_size=2, num_workers=0, dataset=dataset,
                sampler=dict(type="InfiniteSampler" if shuffle else "DefaultSampler",
                             shuffle=shuffle))
"""

SEGMENTATION = """
default_scope = "mmseg"
default_hooks.update(visualization=dict(type="SegVisualizationHook"))
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends, name="visualizer")
model = dict(
    type="EncoderDecoder", backbone=backbone,
    data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 64)),
    decode_head=dict(type="FCNHead", in_channels=32, in_index=3, channels=8, num_convs=1,
                     num_classes=2, loss_decode=dict(type="CrossEntropyLoss")),
    train_cfg=dict(), test_cfg=dict(mode="whole"),
)
pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"),
            dict(type="PackSegInputs")]
dataset = dict(type="BaseSegDataset", data_root={root!r}, img_suffix=".png",
               metainfo=dict(classes=("a", "b"), palette=[[0, 0, 0], [255, 0, 0]]),
               data_prefix=dict(img_path="images", seg_map_path="labels"), pipeline=pipeline)
train_dataloader = loader(dataset, True)
val_dataloader = test_dataloader = loader(dataset, False)
val_evaluator = test_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
"""

CLASSIFICATION = """
default_scope = "mmpretrain"
default_hooks.update(visualization=dict(type="VisualizationHook"))
visualizer = dict(type="UniversalVisualizer", vis_backends=vis_backends)
data_preprocessor = dict(num_classes=2)
model = dict(
    type="ImageClassifier", backbone=backbone, neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=2, in_channels=32, topk=(1,)),
)
dataset = dict(type="CustomDataset", data_root={root!r}, data_prefix="classes",
               pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")])
train_dataloader = loader(dataset, True)
val_dataloader = test_dataloader = loader(dataset, False)
for item in (train_dataloader, val_dataloader):
    item["collate_fn"] = dict(type="default_collate")
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1,))
"""


def write_images(folder: Path, names: str, shape: tuple[int, ...], high: int = 256) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), random.integers(0, high, shape, dtype=np.uint8))


def write_segmentation(folder: Path) -> str:
    write_images(folder / "images", "wxyz", (64, 64, 3))
    write_images(folder / "labels", "wxyz", (64, 64), high=2)
    return write_config(folder, SEGMENTATION)


def write_classification(folder: Path) -> str:
    write_images(folder / "classes/a", "wx", (64, 64, 3))
    write_images(folder / "classes/b", "yz", (64, 64, 3))
    return write_config(folder, CLASSIFICATION)


def write_config(folder: Path, text: str) -> str:
    path = folder / "config.py"
    path.write_text(RUNTIME + text.format(root=str(folder)))
    return str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(config="none.py"), "config not found: none.py"),
        (
            dict(config=str(ROOT / "configs/mask_rcnn_lsnet_b.py")),
            "beside it: mask_rcnn_lsnet_b_coco.py",
        ),
        (dict(config=str(ROOT / "README.md")), "cannot be read as a config"),
        (dict(cfg_options=["a"]), "--cfg-options takes KEY=VALUE pairs, got 'a'"),
        (dict(cfg_options=["a={b:[1,2],c:[3]}"]), "write a config that inherits this one"),
        (dict(cfg_options=["data_root=none"]), "none/annotations/instances_train2017.json"),
        (dict(resume="none.pth"), "checkpoint not found: none.pth"),
        (dict(launcher="pytorch"), "start it with tools/dist_train.sh or torchrun"),
        (dict(launcher="mpi"), "--launcher mpi needs GPUs"),
        (dict(launcher="slurm"), "SLURM_PROCID is not set: start it with srun"),
        (dict(auto_scale_lr=True, config="bare.py"), "--auto-scale-lr: bare.py sets no auto_"),
    ],
)
def test_errors_name_what_is_wrong(change, message, shapes, tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("bare.py").write_text("data_root = ''\ntrain_cfg = dict(max_epochs=1)\n")
    args = arguments(SHAPES, tmp_path / "work", f"data_root={shapes}")
    vars(args).update(change)
    with pytest.raises(InputError) as raised:
        run_train(args)
    assert message in str(raised.value)
    assert not (tmp_path / "work").exists()  # nothing was begun


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(checkpoint="none.pth"), "checkpoint not found: none.pth"),
        (dict(out="out.json"), "--out must end in .pkl or .pickle, got 'out.json'"),
        (dict(cfg_options=["data_root=none"]), "none/annotations/instances_val2017.json"),
        (
            dict(show_dir="pictures", cfg_options=["default_hooks.visualization=None"]),
            "--show, --show-dir: the config has no default_hooks.visualization",
        ),
    ],
)
def test_errors_of_test_name_what_is_wrong(change, message, shapes, trained, tmp_path):
    args = arguments(SHAPES, tmp_path, f"data_root={shapes}", checkpoint=str(trained))
    vars(args).update(change)
    with pytest.raises(InputError) as raised:
        run_test(args)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(3)], "holds no weights but list"),
        ({"state_dict": "none"}, "holds no weights by name: none"),
    ],
)
def test_checkpoint_without_weights_is_named(content, message, shapes, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    args = arguments(SHAPES, tmp_path, f"data_root={shapes}", checkpoint=str(path))
    with pytest.raises(CheckpointError, match=f"other.pth {message}"):
        run_test(args)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 truncated"])
def test_damaged_checkpoint_is_named(content, shapes, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    args = arguments(SHAPES, tmp_path, f"data_root={shapes}", checkpoint=str(path))
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read as a torch checkpoint"):
        run_test(args)


def test_training_starts_from_a_pretrained_backbone(trained, shapes, tmp_path):
    config = tmp_path / "pretrained.py"
    init_cfg = dict(_delete_=True, type="Pretrained", checkpoint=str(trained))
    config.write_text(
        f"_base_ = {SHAPES!r}\n"
        f"model = dict(backbone=dict(frozen_stages=4, init_cfg={init_cfg!r}))\n"
    )
    options = (f"data_root={shapes}", "train_cfg.max_epochs=1")
    run_train(arguments(str(config), tmp_path, *options))
    before = torch.load(trained, weights_only=False)["state_dict"]
    after = torch.load(tmp_path / "epoch_1.pth", weights_only=False)["state_dict"]
    backbone = [k for k in after if k.startswith("backbone.")]
    assert all(torch.equal(after[k], before[k]) for k in backbone)
    assert not torch.equal(
        after["bbox_head.retina_cls.weight"], before["bbox_head.retina_cls.weight"]
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.bbox_head.num_classes=3", "bbox_head predicts 3 classes, but CocoDataset"),
        ("train_dataloader.dataset.filter_cfg.min_size=500", "a data set has no images to use"),
    ],
)
def test_data_the_model_was_not_made_for_is_refused(option, message, shapes, tmp_path):
    with pytest.raises(InputError) as raised:
        run_train(arguments(SHAPES, tmp_path, f"data_root={shapes}", option))
    assert message in str(raised.value)
    assert not list(tmp_path.glob("*.pth"))


def test_fine_tuning_may_replace_a_head_but_not_everything(shapes, trained, tmp_path):
    options = (f"data_root={shapes}", "train_cfg.max_epochs=1")
    state = torch.load(trained, weights_only=False)["state_dict"]
    state = {k: v for k, v in state.items() if not k.startswith("bbox_head.retina_cls")}
    torch.save(dict(state_dict=state), tmp_path / "part.pth")
    run_train(arguments(SHAPES, tmp_path, *options, f"load_from={tmp_path / 'part.pth'}"))
    assert (tmp_path / "epoch_1.pth").exists()
    torch.save(dict(state_dict={"other.weight": torch.zeros(1)}), tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is not one of this RetinaNet"):
        run_train(arguments(SHAPES, tmp_path, *options, f"load_from={tmp_path / 'none.pth'}"))


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", "0"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"4 processes were asked for .* but it has 2 GPUs"):
        distributed.set_up_launcher(Config(dict(launcher="pytorch")))


def test_slurm_variables_are_translated(monkeypatch, tmp_path):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[3-4]" ] && printf "n3\\nn4\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    slurm = dict(PROCID="3", NTASKS="4", LOCALID="1", TASKS_PER_NODE="2(x2)", JOB_NODELIST="n[3-4]")
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("JOB_ID", "STEP_NODELIST", "NODEID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "")  # restored after the test
    monkeypatch.delenv("MASTER_PORT")
    distributed._export_environment("slurm")
    values = [distributed.os.environ[name] for name in names]
    assert values == ["3", "4", "1", "2", "n3", "29500"]


def test_slurm_jobs_say_that_their_port_is_in_use():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use.*set MASTER_PORT"):
            distributed._check_port(str(port))
