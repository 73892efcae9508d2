"""Written configs at work: checked, trained, tested; and what the tool says of its arguments."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from lsnet_mm.errors import InputError
from lsnet_mm.new_config import run, write_config
from tests.check.test_run import run as check
from tests.conftest import ROOT
from tests.engine.test_run import arguments as run_arguments
from tests.engine.test_run import run_test, run_train
from tests.new_config.conftest import arguments
from tests.new_config.test_semantic import NAMES, zero_becomes_a_class

LOADERS = [
    f"{split}_dataloader.{setting}"
    for split in ("train", "val", "test")
    for setting in ("num_workers=0", "persistent_workers=False")
]
FEW = [
    *("train_dataloader.dataset.indices=2", "train_dataloader.batch_size=2"),
    *("val_dataloader.dataset.indices=1", "test_dataloader.dataset.indices=1"),
    "default_hooks.checkpoint.save_optimizer=False",
]
SMALL_OBJECTS = [
    "train_cfg.max_epochs=1",
    "train_dataloader.dataset.pipeline.2.scale=(96,96)",
    "val_dataloader.dataset.pipeline.1.scale=(96,96)",
    "test_dataloader.dataset.pipeline.1.scale=(96,96)",
]
SMALL = {
    "detection": [*SMALL_OBJECTS, "model.test_cfg.score_thr=0.0", "model.test_cfg.nms_pre=20"],
    "instance": [
        *SMALL_OBJECTS,
        *("model.train_cfg.rpn_proposal.nms_pre=20", "model.test_cfg.rpn.nms_pre=20"),
        *("model.test_cfg.rcnn.score_thr=0.0", "model.test_cfg.rcnn.max_per_img=5"),
        "model.train_cfg.rcnn.sampler.num=16",
    ],
    "semantic": [
        *("train_cfg.max_iters=2", "train_cfg.val_interval=2"),
        *("default_hooks.checkpoint.interval=2", "model.data_preprocessor.size=(64,64)"),
        "train_dataloader.dataset.pipeline.2.scale=(160,120)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
        "val_dataloader.dataset.pipeline.1.scale=(160,120)",
        "test_dataloader.dataset.pipeline.1.scale=(160,120)",
    ],
    "classification": [
        *("train_cfg.max_epochs=1", "val_dataloader.batch_size=2", "test_dataloader.batch_size=2"),
        "train_dataloader.dataset.pipeline.1.scale=64",
    ],
}
METRICS = {
    "detection": "coco/bbox_mAP",
    "instance": "coco/segm_mAP",
    "semantic": "mIoU",
    "classification": "accuracy/top1",
}


@pytest.fixture
def own(request, tmp_path) -> Path:
    """Config for a task, by parameter, on a data set of its kind."""
    kind = {"semantic": "ade", "classification": "folders"}.get(request.param, "coco")
    data = request.getfixturevalue(kind)
    classes = None
    if request.param == "semantic":
        zero_becomes_a_class(data)
        classes = NAMES
    out = tmp_path / "own.py"
    return write_config(arguments(data, request.param, out, classes=classes))


def check_train_and_test(config: Path, task: str, options: list[str]) -> Path:
    """Put a config to use, and return the checkpoint that it trains."""
    fine, problems = check(str(config), config.parent / "check")
    assert fine
    assert not [problem for problem in problems if problem[0] == "error"]
    options = [*LOADERS, *FEW, *SMALL[task], *options]
    run_train(run_arguments(str(config), config.parent / "work", *options))
    name = "iter_2.pth" if task == "semantic" else "epoch_1.pth"
    checkpoint = config.parent / "work" / name
    folder = config.parent / "test"
    metrics = run_test(run_arguments(str(config), folder, *options, checkpoint=str(checkpoint)))
    assert METRICS[task] in metrics
    return checkpoint


@pytest.mark.parametrize(
    ("own", "task"),
    [(task, task) for task in ("instance", "semantic", "classification")],
    indirect=["own"],
)
def test_config_passes_the_check_trains_and_tests(own, task):
    check_train_and_test(own, task, ["model.backbone.init_cfg=None"])


def test_detector_goes_on_from_a_published_one(coco, tmp_path):
    """Of 80 classes: all of it but the layer that tells classes apart."""
    base = Config.fromfile(ROOT / "configs/retinanet_lsnet_t_coco.py")
    init_default_scope("mmdet")
    base.model.backbone.init_cfg = None
    published = MODELS.build(base.model).state_dict()
    torch.save(dict(state_dict=published, meta={}), tmp_path / "published.pth")
    config = write_config(arguments(coco, "detection", tmp_path / "own.py", init="published"))
    cfg = Config.fromfile(config)
    assert cfg.load_from.endswith("/lsnet_t_retinanet.pth")
    assert cfg.model.backbone.init_cfg is None
    options = [f"load_from={tmp_path / 'published.pth'}", "optim_wrapper.optimizer.lr=0.0"]
    checkpoint = check_train_and_test(config, "detection", options)
    trained = torch.load(checkpoint, weights_only=False)["state_dict"]
    other = {k for k in published if not torch.equal(trained[k], published[k])}
    assert other == {"bbox_head.retina_cls.weight", "bbox_head.retina_cls.bias"}


def refused(args) -> str:
    with pytest.raises(InputError) as raised:
        write_config(args)
    return str(raised.value)


def test_config_is_replaced_on_demand_only(shapes, tmp_path):
    out = tmp_path / "new/own.py"
    write_config(arguments(shapes, "detection", out))
    out.write_text("mine")
    message = refused(arguments(shapes, "instance", out))
    assert message == f"{out} is there already: --force replaces it, --out names another"
    assert out.read_text() == "mine"
    write_config(arguments(shapes, "instance", out, force=True))
    assert Config.fromfile(out).model.type == "MaskRCNN"


def test_arguments_that_do_not_fit_are_refused(shapes, shapes_by_class, tmp_path, monkeypatch):
    out = tmp_path / "own.py"
    missing = arguments(tmp_path / "none", "detection", out)
    assert f"--data: there is no folder {tmp_path / 'none'}" in refused(missing)
    assert "--classes: COCO files" in refused(arguments(shapes, "detection", out, classes="a"))
    named = arguments(shapes_by_class, "classification", out, train_ann=shapes)
    assert "a class folder's name is its images' label" in refused(named)
    published = arguments(shapes_by_class, "classification", out, init="published")
    assert "the backbone's weights are all" in refused(published)
    assert "ends in .py" in refused(arguments(shapes, "detection", tmp_path / "own"))
    (tmp_path / "file").touch()
    inside = arguments(shapes, "detection", tmp_path / "file/own.py")
    assert "cannot write " in refused(inside)
    monkeypatch.setattr(run, "CONFIGS", tmp_path)
    message = refused(arguments(shapes, "detection", out))
    assert (
        f"retinanet_lsnet_t_coco.py, is not in {tmp_path}: an installed package has no" in message
    )


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; return its exit status, standard output and error output."""

    def call(*options: str) -> tuple[int, str, str]:
        monkeypatch.syspath_prepend(str(ROOT / "tools"))
        monkeypatch.setattr(sys, "argv", ["new_config.py", *options])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools/new_config.py"), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def test_tool_writes_beside_our_configs_and_says_what_is_next(tool, coco, tmp_path, monkeypatch):
    """In a folder in place of ours, which stays as it is."""
    configs = tmp_path / "configs"
    configs.mkdir()
    monkeypatch.setattr(run, "CONFIGS", configs)
    base = configs / "retinanet_lsnet_b_stable_coco.py"
    base.symlink_to(ROOT / "configs" / base.name)
    status, shown, errors = tool("--data", str(coco), "--task", "detection", "--arch", "b")
    assert status == 0, errors
    out = configs / "retinanet_lsnet_b_own_set.py"
    assert f"wrote {out}; next:\n  python tools/check_dataset.py {out}\n" in shown
    assert f'_base_ = "{base.name}"\n' in out.read_text()


def test_tool_tells_what_is_wrong(tool, tmp_path):
    status, _, errors = tool("--data", str(tmp_path / "none"), "--task", "detection")
    assert status == 1
    assert errors == f"error: --data: there is no folder {tmp_path / 'none'}\n"
