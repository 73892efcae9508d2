"""Real runs of the tools, in processes of their own: trained by two, killed, resumed, tested."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TINY_SEGMENTOR = "tests/configs/tiny_fpn_shapes.py"
TINY = "tests/configs/tiny_retinanet_shapes.py"
FIXED = "tests/configs/deterministic_retinanet_shapes.py"
ENVIRONMENT = {
    **os.environ,
    "PYTHON": sys.executable,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}
AP = re.compile(r"coco/bbox_mAP: ([\d.]+)")


def run(*command: str | Path, status: int = 0) -> str:
    """Run a tool from the repository's root and return what it printed."""
    done = subprocess.run(
        [str(c) for c in command],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == status, done.stdout[-3000:]
    return done.stdout


def weights(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, weights_only=False)
    return checkpoint.get("state_dict", checkpoint)


@pytest.fixture(scope="module")
def initial(shapes, tmp_path_factory) -> Path:
    """Random weights that two ways of training both start from."""
    folder = tmp_path_factory.mktemp("initial")
    torch.save(dict(state_dict=build_runner(shapes, folder).model.state_dict()), folder / "w.pth")
    return folder / "w.pth"


def build_runner(shapes: Path, work_dir: Path) -> Runner:
    cfg = Config.fromfile(ROOT / FIXED)
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = str(shapes)
    cfg.custom_imports, cfg.custom_hooks = None, []
    for key in ("cfg", "dataloader", "evaluator"):
        cfg[f"val_{key}"] = cfg[f"test_{key}"] = None
    return Runner.from_cfg(cfg)


def train_in_one_process(shapes: Path, initial: Path, work_dir: Path) -> dict[str, torch.Tensor]:
    """Average by hand the gradients of what two ranks would each have seen."""
    runner = build_runner(shapes, work_dir)
    model = runner.model.train()
    model.load_state_dict(weights(initial))
    optimizer = runner.build_optim_wrapper(runner.cfg.optim_wrapper).optimizer
    batches = list(Runner.build_dataloader(runner.cfg.train_dataloader))
    for first, second in zip(batches[0::2], batches[1::2], strict=True):
        optimizer.zero_grad()
        for batch in (first, second):
            data = model.data_preprocessor(batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode="loss"))
            (loss / 2).backward()
        optimizer.step()
    return model.state_dict()


def test_two_processes_average_their_gradients(shapes, initial, tmp_path):
    work_dir = tmp_path / "two"
    log = run(
        "tools/dist_train.sh", FIXED, "2", "--work-dir", work_dir,
        "--cfg-options", f"data_root={shapes}", f"load_from={initial}",
    )  # fmt: skip
    assert "Distributed launcher: pytorch" in log
    ranks = [weights(work_dir / f"rank_{i}.pth") for i in range(2)]
    alone = train_in_one_process(shapes, initial, tmp_path)
    before = weights(initial)
    for key, value in alone.items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        torch.testing.assert_close(ranks[0][key], value, rtol=1e-4, atol=1e-6, msg=key)
    moved = [k for k, v in alone.items() if not torch.equal(v, before[k])]
    assert "backbone.patch_embed.0.c.weight" in moved


def start(*command: str | Path) -> subprocess.Popen:
    return subprocess.Popen(
        [str(c) for c in command],
        cwd=ROOT,
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def resumed(shapes, tmp_path_factory) -> Path:
    """Work folder of a run killed in its second epoch of three, and resumed."""
    work_dir = tmp_path_factory.mktemp("killed")
    train = (sys.executable, "tools/train.py", TINY, "--work-dir", work_dir)
    options = ("--cfg-options", f"data_root={shapes}", "train_cfg.max_epochs=3")
    process = start(*train, *options)
    wait_for(work_dir / "last_checkpoint", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (work_dir / "epoch_3.pth").exists()
    log = run(*train, "--resume", *options)
    assert re.search(r"resumed epoch: [12], iter: \d", log)
    return work_dir


def test_resumed_run_goes_on_where_it_was(resumed):
    checkpoint = torch.load(resumed / "epoch_3.pth", weights_only=False)
    assert checkpoint["meta"]["epoch"] == 3
    assert checkpoint["meta"]["iter"] == 6  # 16 images in batches of 8, of which some are empty
    steps = {int(s["step"]) for s in checkpoint["optimizer"]["state"].values()}
    assert steps == {6}


def test_two_processes_measure_what_one_does(resumed, shapes, tmp_path):
    options = ("--cfg-options", f"data_root={shapes}", "model.test_cfg.score_thr=0.0")
    checkpoint = resumed / "epoch_3.pth"
    one = run(
        sys.executable, "tools/test.py", TINY, checkpoint, "--work-dir", tmp_path / "one", *options
    )
    two = run("tools/dist_test.sh", TINY, checkpoint, "2", "--work-dir", tmp_path / "2", *options)
    assert "Average Precision  (AP) @[ IoU=0.50 " in one
    assert AP.findall(one)
    assert AP.findall(one) == AP.findall(two)


def test_launchers_say_what_is_wrong(shapes, tmp_path):
    assert "usage: " in run("tools/dist_train.sh", TINY, status=2)
    assert "must be 1 or more, got 'two'" in run("tools/dist_train.sh", TINY, "two", status=2)
    missing = run("tools/dist_train.sh", "none.py", "2", "--work-dir", tmp_path, status=1)
    assert missing.count("error: config not found: none.py") == 1
    assert "Traceback" not in missing


def test_two_processes_on_cpus_train_what_has_synchronised_batch_norm(shapes_as_ade20k, tmp_path):
    log = run(
        "tools/dist_train.sh", TINY_SEGMENTOR, "2", "--work-dir", tmp_path,
        "--cfg-options", f"data_root={shapes_as_ade20k}",
    )  # fmt: skip
    assert re.search(r"Iter\(val\).*mIoU: [\d.]+", log)
    norms = {k: v for k, v in weights(tmp_path / "iter_2.pth").items() if "decode_head" in k}
    assert any(k.endswith("running_mean") and v.abs().sum() > 0 for k, v in norms.items())
