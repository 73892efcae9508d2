"""A planted program runs by no way that a tool, a config or a Predictor takes to a file."""

import functools
import pickle
import runpy
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmpretrain import get_model

from lsnet_mm import download, model_zoo
from lsnet_mm.deploy.tool import export
from lsnet_mm.errors import CheckpointError, UnsafeFileError
from lsnet_mm.inference import Predictor
from lsnet_mm.loading import guarded_loading
from lsnet_mm.report import report
from tests.conftest import ROOT
from tests.engine.test_run import (
    SHAPES,
    arguments,
    forget_visualizers,
    run_test,
    run_train,
    write_classification,
    write_segmentation,
)
from tests.loading.canary import WRITERS, Canary
from tests.models.test_distillation import mm_teacher, student
from tests.report.conftest import report_arguments
from tests.test_download import NAME, Hub, hub  # noqa: F401  a fixture

TOOLS = ("benchmark", "check_dataset", "download", "export", "infer", "report", "test", "train")


class Run:
    """A tiny classifier's run.

    Attributes:
        config: Its config.
        folder: Its work folder.
        checkpoint: Its last.
        canary: File that ``plant``'s programs make.
    """

    def __init__(self, folder: Path) -> None:
        self.config, self.folder = write_classification(folder), folder / "work"
        run_train(arguments(self.config, self.folder, "randomness.seed=0"))
        self.checkpoint = self.folder / "iter_2.pth"
        self.canary = folder / "canary"

    def plant(self, folder: Path, kind: str = "zip") -> str:
        """The checkpoint with a program in its metadata, as a new file."""
        content = torch.load(self.checkpoint, weights_only=False)
        content["meta"]["more"] = Canary(self.canary)
        path = folder / "planted.pth"
        WRITERS[kind](path, content)
        return str(path)

    def change(self, folder: Path, text: str) -> str:
        """The config with changes, as a new file."""
        path = folder / "changed.py"
        path.write_text(f"_base_ = {self.config!r}\n{text}\n")
        return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def _no_canary(run):
    run.canary.unlink(missing_ok=True)


def train(run: Run, folder: Path, *options: str, text: str = "", **others: Any) -> None:
    run_train(arguments(run.change(folder, text), folder / "work", *options, **others))


def resume_automatically(run: Run, file: str, folder: Path) -> None:
    (folder / "work").mkdir()
    (folder / "work/last_checkpoint").write_text(file)
    Path(file).rename(folder / "work/iter_2.pth")
    (folder / "work/last_checkpoint").write_text(str(folder / "work/iter_2.pth"))
    train(run, folder, resume="auto")


def write_pickle(run: Run, file: str, folder: Path) -> None:
    (folder / "a.pkl").write_bytes(pickle.dumps([Canary(run.canary)]))
    report(report_arguments(run.folder, predictions=str(folder / "a.pkl")))


def with_init_cfg(part: str, run: Run, file: str, folder: Path) -> None:
    init = dict(init_cfg=dict(type="Pretrained", checkpoint=file))
    train(run, folder, text=f"model = { ({part: init} if part else init)!r}")


def load_within(call: Callable[[str], Any], run: Run, file: str, folder: Path) -> None:
    with guarded_loading():
        call(file)


def export_it(run: Run, file: str, folder: Path) -> None:
    unset = ("size", "samples", "tolerance", "int8", "cfg_options", "work_dir", "out")
    export(
        Namespace(
            config=run.config, checkpoint=file, format="torch-export", fp16=False, logits=False,
            dynamic_size=False, launcher="none", trust_checkpoint=False, **dict.fromkeys(unset),
        )
    )  # fmt: skip


WAYS: dict[str, Callable[[Run, str, Path], Any]] = {
    "train: load_from": lambda run, file, folder: train(run, folder, f"load_from={file}"),
    "train: load_from and resume": lambda run, file, folder: train(
        run, folder, f"load_from={file}", "resume=True"
    ),
    "train: --resume FILE": lambda run, file, folder: train(run, folder, resume=file),
    "train: --resume": resume_automatically,
    "train: pretrained backbone": functools.partial(with_init_cfg, "backbone"),
    "train: pretrained head": functools.partial(with_init_cfg, "head"),
    "train: pretrained model": functools.partial(with_init_cfg, ""),
    "train: teacher": lambda run, file, folder: student(mm_teacher(), file).init_weights(),
    "test": lambda run, file, folder: run_test(arguments(run.config, folder, checkpoint=file)),
    "export": export_it,
    "infer: config": lambda run, file, folder: Predictor(run.config, file),
    "infer: checkpoint": lambda run, file, folder: Predictor(file),
    "report: checkpoint": lambda run, file, folder: report(
        report_arguments(run.folder, checkpoint=file)
    ),
    "report: predictions": write_pickle,
    "mmpretrain": functools.partial(
        load_within, lambda file: get_model("resnet18_8xb32_in1k", pretrained=file, device="cpu")
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_runs_a_planted_program(way, run, tmp_path):
    with pytest.raises(UnsafeFileError) as raised:
        WAYS[way](run, run.plant(tmp_path), tmp_path)
    assert not run.canary.exists()
    assert ": it needs io.open, and loading that could run a program" in str(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("kind", ["legacy", "tar", "pickle"])
@pytest.mark.parametrize("way", ["train: --resume FILE", "test"])
def test_no_format_runs_a_planted_program(way, kind, run, tmp_path):
    with pytest.raises(CheckpointError, match=r"planted\.pth"):
        WAYS[way](run, run.plant(tmp_path, kind), tmp_path)
    assert not run.canary.exists()


def test_timm_runs_no_planted_program(run, tmp_path):
    with guarded_loading(), pytest.raises(CheckpointError):
        timm.create_model("resnet10t", checkpoint_path=run.plant(tmp_path))
    assert not run.canary.exists()


def test_addresses_run_no_planted_program(run, hub, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "cache"))
    hub.content = Path(run.plant(tmp_path)).read_bytes()
    for way in ("test", "train: load_from", "train: pretrained backbone", "infer: config"):
        with pytest.raises(UnsafeFileError, match=r"io\.open"):
            WAYS[way](run, hub.url, tmp_path)
        assert not run.canary.exists()


def test_downloads_that_could_run_get_no_name(run, hub, tmp_path):  # noqa: F811
    hub.content = Path(run.plant(tmp_path)).read_bytes()
    folder, url = tmp_path / "pretrain", hub.url.removesuffix(NAME)
    with pytest.raises(UnsafeFileError, match=r"lsnet_t\.pth\.part was not loaded.*io\.open"):
        download.fetch(model_zoo.find("lsnet_t"), folder, url)
    assert not list(folder.iterdir())
    assert not run.canary.exists()
    download.fetch(model_zoo.find("lsnet_t"), folder, url, trust=True)
    assert (folder / NAME).read_bytes() == hub.content
    assert not run.canary.exists()  # it was not loaded


def test_a_config_in_a_resumed_checkpoint_is_not_run(run, tmp_path):
    """Mmengine's runner would, for the number of GPUs."""
    content = torch.load(run.checkpoint, weights_only=False)
    content["meta"]["config"] = f"gpu_ids = open({str(run.canary)!r}, 'w').close()"
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UnsafeFileError, match="the config in the checkpoint was not loaded: it ne"):
        train(run, tmp_path, resume=str(tmp_path / "a.pth"))
    assert not run.canary.exists()


def test_only_the_option_gives_trust(run, tmp_path):
    file = run.plant(tmp_path)
    options = ("trust_checkpoint=True", "env_cfg.trust_checkpoint=True")
    with pytest.raises(UnsafeFileError):
        train(run, tmp_path, *options, text="trust_checkpoint = True", resume=file)
    assert not run.canary.exists()
    train(run, tmp_path, "train_cfg.max_iters=4", resume=file, trust_checkpoint=True)
    assert run.canary.exists()
    assert (tmp_path / "work/iter_4.pth").exists()
    run.canary.unlink()
    assert Predictor(file, trust_checkpoint=True).task == "classification"
    assert run.canary.exists()


@pytest.mark.parametrize("tool", TOOLS)
def test_tools_have_the_option(tool):
    command = [sys.executable, str(ROOT / f"tools/{tool}.py"), "--help"]
    assert "--trust-checkpoint" in subprocess.run(command, capture_output=True, text=True).stdout


def test_tools_print_the_refusal_alone(run, tmp_path, monkeypatch, capsys):
    file = run.plant(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setattr(sys, "argv", ["test.py", run.config, file, "--work-dir", str(tmp_path)])
    forget_visualizers()
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(ROOT / "tools/test.py"), run_name="__main__")
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert f"error: {file} was not loaded: it needs io.open, and" in line
    assert "weights_only" not in shown.err + shown.out
    assert not run.canary.exists()


# What mm writes itself.


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_real_checkpoints_are_read_whole(task, run, shapes, tmp_path):
    if task == "classification":
        checkpoint = run.checkpoint
    elif task == "segmentation":
        run_train(arguments(write_segmentation(tmp_path), tmp_path / "work"))
        checkpoint = tmp_path / "work/iter_2.pth"
    else:
        run_train(arguments(SHAPES, tmp_path, f"data_root={shapes}", "train_cfg.max_epochs=1"))
        checkpoint = tmp_path / "epoch_1.pth"
    with guarded_loading():
        found = torch.load(checkpoint)
        cfg = Config.fromstring(found["meta"]["cfg"], ".py")
    assert {"optimizer", "message_hub"} <= found.keys()
    assert cfg.pretty_text == found["meta"]["cfg"]
    assert_same(found, torch.load(checkpoint, weights_only=False))


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, HistoryBuffer):
        assert_same(one.data, other.data)
        assert one.__dict__.keys() == other.__dict__.keys()
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert one.dtype == other.dtype
        assert bool((one == other).all())
    else:
        assert one == other


def test_resumed_runs_end_alike(run, tmp_path):
    ends = []
    for trust in (False, True):
        folder = tmp_path / str(trust)
        options = ("train_cfg.max_iters=4", "randomness.seed=0")
        how = dict(resume=str(run.checkpoint), trust_checkpoint=trust)
        args = arguments(run.config, folder, *options, **how)
        run_train(args)
        ends.append(torch.load(folder / "iter_4.pth", weights_only=False))
    for part in ("state_dict", "optimizer"):
        assert_same(ends[0][part], ends[1][part])
    losses = [end["message_hub"]["log_scalars"]["train/loss"] for end in ends]
    assert_same(*losses)
    assert len(losses[0].data[0]) == 4
