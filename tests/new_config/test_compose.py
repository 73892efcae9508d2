"""The text of written configs, and the schedules in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from lsnet_mm.new_config.compose import compose
from lsnet_mm.new_config.layout import OwnData
from lsnet_mm.new_config.render import WIDTH, Code, assignment, expression
from lsnet_mm.new_config.schedule import Schedule, plan
from lsnet_mm.new_config.tasks import TASKS
from tests.configs.recipes import learning_rates
from tests.conftest import ROOT
from tests.new_config.conftest import arguments


@pytest.mark.parametrize(
    ("task", "images", "expected"),
    [
        ("detection", 16, Schedule(4, 5e-5, 300, 1200, 120, 25)),
        ("detection", 1000, Schedule(4, 5e-5, 40, 10_000, 500, 3)),
        ("instance", 50_000, Schedule(4, 5e-5, 12, 150_000, 500, 1)),
        ("semantic", 20, Schedule(8, 1e-4, 300, 900, 90, 90)),
        ("semantic", 1000, Schedule(8, 1e-4, 160, 20_000, 500, 2000)),
        ("semantic", 20_210, Schedule(8, 1e-4, 16, 40_440, 500, 4044)),
        ("classification", 2, Schedule(2, 1e-5, 100, 100, 10, 8)),
        ("classification", 256, Schedule(64, 7e-5, 100, 400, 40, 8)),
        ("classification", 2000, Schedule(64, 7e-5, 50, 1600, 160, 4)),
        ("classification", 100_000, Schedule(64, 7e-5, 30, 46_890, 500, 2)),
    ],
)
def test_schedule_goes_by_the_number_of_images(task, images, expected):
    assert plan(task, images) == expected


COMMON = dict(img_suffix=".png", seg_map_suffix=".png", reduce_zero_label=False)
CLASSES = ["it's", 'a "b"', "straße", "back\\slash", *(f"class number {i}" for i in range(20))]


@pytest.fixture
def text(request, tmp_path) -> tuple[str, str]:
    """A task, by parameter, and the text of its config with names that are hard to write."""
    task, init, measured = request.param
    data = OwnData(CLASSES, 1000, common=COMMON if task == "semantic" else {})
    data.train = {"data_prefix": "train"}
    data.val = {"data_prefix": "val"} if measured else None
    data.ann_file = "annotations/val.json" if TASKS[task].trained_on == "coco" else None
    name = f"{TASKS[task].network.format('s')}_{TASKS[task].trained_on}.py"
    args = arguments(Path("data/own"), task, tmp_path / "own.py", arch="s", init=init)
    return task, compose(args, data, ROOT / "configs" / name, args.out)


CASES = [
    *((task, "imagenet", True) for task in TASKS),
    *((task, "published", True) for task in TASKS if TASKS[task].published),
    *((task, "imagenet", False) for task in ("detection", "semantic")),
]


@pytest.mark.parametrize("text", CASES, indirect=True)
def test_text_is_a_config_of_good_style(text, tmp_path):
    task, source = text
    assert max(map(len, source.splitlines())) <= WIDTH
    path = tmp_path / "configs/own.py"
    path.parent.mkdir()
    path.write_text(source)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([*ruff, *command, path], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stdout.decode()
    cfg = Config.fromfile(path)
    assert list(cfg.metainfo.classes) == CLASSES
    assert cfg.data_root == "data/own/"
    assert cfg.train_dataloader.dataset.data_root == "data/own/"
    assert cfg.num_classes == len(CLASSES)
    assert cfg.optim_wrapper.optimizer.lr == plan(task, 1000).lr
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size


@pytest.mark.parametrize("text", [("detection", "imagenet", True)], indirect=True)
def test_learning_rate_warms_up_and_steps_down(text, tmp_path):
    (tmp_path / "own.py").write_text(text[1])
    cfg = Config.fromfile(tmp_path / "own.py")
    assert cfg.epochs == cfg.train_cfg.max_epochs == 40
    warm_up, steps = cfg.param_scheduler
    cfg.param_scheduler = [warm_up]
    rates = learning_rates(cfg, 501)
    assert rates[0] == pytest.approx(5e-7)
    assert rates[499] == pytest.approx(5e-5)
    cfg.param_scheduler = [dict(steps, begin=0)]
    rates = learning_rates(cfg, 40)
    assert rates[26] == 5e-5
    assert rates[27] == pytest.approx(5e-6)
    assert rates[37] == pytest.approx(5e-7)


def test_path_to_the_base_is_seen_from_inside_the_repository_only(tmp_path):
    base = tmp_path / "configs/base.py"
    data = OwnData(["a", "b"], 10, train={}, val={})
    for out, expected in (
        ("configs/own.py", "base.py"),
        ("configs/mine/own.py", "../base.py"),
        ("own.py", "configs/base.py"),
        ("../own.py", str(base)),
    ):
        path = tmp_path / out
        text = compose(arguments(Path("d"), "classification", path), data, base, path)
        assert f'_base_ = "{expected}"\n' in text


def test_expressions_are_python():
    for value in (0, -1.5, 5e-5, 1e-6, 0.9, True, None, "a", "b'c", 'd"e', (), (1,), [1, "2"]):
        assert eval(expression(value)) == value
    assert expression(5e-5) == "5e-5"
    assert expression({"a": Code("b[0]"), "**c": Code("**c")}) == "dict(a=b[0], **c)"
    line = assignment("x", list(range(100, 119)))
    assert len(line) < WIDTH
    assert assignment("x", list(range(100, 130))).startswith("x = [\n    100,\n    101,\n")
