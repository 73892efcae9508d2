"""Runs cut at any moment, and resumed, end as uninterrupted ones: to the last bit."""

import errno
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from lsnet_mm.engine import data, signals
from lsnet_mm.engine.checkpoints import INTERRUPTED, POINTER
from lsnet_mm.engine.resume import check_checkpoint, set_up_resume
from lsnet_mm.engine.signals import StopHook
from lsnet_mm.errors import CheckpointError, InputError
from tests.conftest import ROOT

from .killed import (
    AtFileEvent,
    AtIteration,
    InWrite,
    Run,
    Scaled,
    WorkersDie,
    differences,
    outcome,
    run_ranks,
)

EPOCHS, ITERATIONS = "killed_epochs.py", "killed_iterations.py"  # of 5 iterations; 3 and 9
SEED = 0
TRAINING = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "losses")


@pytest.fixture(scope="module")
def whole(shapes_by_class, tmp_path_factory) -> dict[str, dict]:
    """What uninterrupted runs of both configs end with."""
    outcomes = {}
    for config in (EPOCHS, ITERATIONS):
        run = Run(config, shapes_by_class, tmp_path_factory.mktemp("whole") / "run")
        assert run.finish() == 0, run.output()[-3000:]
        outcomes[config] = outcome(run.work_dir)
    return outcomes


def training(result: dict) -> dict:
    """The part of an outcome that does not depend on which checkpoints are kept."""
    return {part: result[part] for part in TRAINING}


@pytest.mark.parametrize(("config", "kills"), [(EPOCHS, 30), (ITERATIONS, 20)])
def test_killed_at_random_moments(config, kills, whole, shapes_by_class, tmp_path):
    chance = random.Random(SEED)
    moments, killed, folder = [], 0, 0
    while killed < kills:
        work_dir = tmp_path / str(folder)
        how = chance.choice(["time", "time", "file event", "write"])
        count, share = chance.randint(1, 25), chance.random()
        doom = {"file event": AtFileEvent(count), "write": InWrite(count, share)}.get(how)
        run = Run(config, shapes_by_class, work_dir, doom)
        run.start()
        if how == "time":
            run.join(2 * share)
            run.kill()
        status = run.finish()
        moments.append(f"run {folder}: {how}, {2 * share:.3f} s, number {count}: {status}")
        assert status in (0, -signal.SIGKILL), "\n".join([*moments, run.output()[-3000:]])
        if status == 0:
            assert not differences(outcome(work_dir), whole[config]), "\n".join(moments)
            folder += 1
            continue
        killed += 1
        if named := read(work_dir / POINTER):
            check_checkpoint(named)
    run = Run(config, shapes_by_class, work_dir)
    assert run.finish() == 0
    assert not differences(outcome(work_dir), whole[config]), "\n".join(moments)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("config", "doom", "saved"),
    [
        (EPOCHS, AtIteration(8, signal.SIGTERM), INTERRUPTED),  # data worker included
        (EPOCHS, AtIteration(10, signal.SIGTERM), INTERRUPTED),  # the epoch's last
        (ITERATIONS, AtIteration(4, signal.SIGINT), "iter_4.pth"),  # saved anyway
        (ITERATIONS, AtIteration(5, signal.SIGINT), INTERRUPTED),
        (EPOCHS, AtIteration(2, signal.SIGTERM, validation=True), "epoch_1.pth"),
    ],
)
def test_stopped_by_a_signal(config, doom, saved, whole, shapes_by_class, tmp_path):
    stopped = Run(config, shapes_by_class, tmp_path / "run", doom)
    assert stopped.finish() == 128 + doom.number, stopped.output()[-3000:]
    name = signal.Signals(doom.number).name
    assert f"Stopped by {name} after" in stopped.output()
    assert Path(read(stopped.work_dir / POINTER)).name == saved
    assert Run(config, shapes_by_class, stopped.work_dir).finish() == 0
    assert not differences(outcome(stopped.work_dir), whole[config])


def test_stopped_in_a_validation_that_no_checkpoint_precedes(whole, shapes_by_class, tmp_path):
    """The averaged weights, in the model's place meanwhile, are not taken for the model's."""
    options = ("default_hooks.checkpoint.interval=10",)
    doom = AtIteration(3, signal.SIGTERM, validation=True)
    stopped = Run(EPOCHS, shapes_by_class, tmp_path / "run", doom, options=options)
    assert stopped.finish() == 143, stopped.output()[-3000:]
    assert Path(read(stopped.work_dir / POINTER)).name == INTERRUPTED
    assert Run(EPOCHS, shapes_by_class, stopped.work_dir, options=options).finish() == 0
    assert not differences(training(outcome(stopped.work_dir)), training(whole[EPOCHS]))


def test_an_epoch_of_other_batches_goes_on_at_the_same_part(shapes_by_class, tmp_path):
    killed = Run(EPOCHS, shapes_by_class, tmp_path / "run", AtIteration(8, signal.SIGTERM))
    assert killed.finish() == 143, killed.output()[-3000:]
    options = ("train_dataloader.batch_size=1",)
    resumed = Run(EPOCHS, shapes_by_class, killed.work_dir, options=options)
    assert resumed.finish() == 0, resumed.output()[-3000:]
    assert (
        "The epoch has 10 batches per process now, and had 5: it goes on after 60%"
        in resumed.output()
    )
    last = torch.load(read(killed.work_dir / POINTER), weights_only=False)["meta"]
    assert (last["epoch"], last["iter"]) == (3, 8 + 4 + 10)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)  # as disks do, more than what pads the tensors
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over(whole, shapes_by_class, tmp_path):
    options = ("default_hooks.checkpoint.max_keep_ckpts=-1",)
    killed = Run(
        EPOCHS, shapes_by_class, tmp_path / "run", AtIteration(12, signal.SIGKILL), options=options
    )
    assert killed.finish() == -signal.SIGKILL
    latest, one_before = (killed.work_dir / f"epoch_{n}.pth" for n in (2, 1))
    assert read(killed.work_dir / POINTER) == str(latest)
    damage(latest)
    chosen = Run(EPOCHS, shapes_by_class, killed.work_dir, options=options, resume=str(latest))
    assert chosen.finish() == 1
    assert f"error: {latest} is damaged: " in chosen.output()
    resumed = Run(EPOCHS, shapes_by_class, killed.work_dir, options=options)
    assert resumed.finish() == 0
    assert f"Going on from {one_before}" in resumed.output()
    assert not differences(training(outcome(killed.work_dir)), training(whole[EPOCHS]))


class SmallFiles:
    """Limit the size of files, which the system then enforces as it does a full disk."""

    def __call__(self, work_dir: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize(
    ("doom", "reason"),
    [
        (InWrite(2, 0.5, OSError(errno.ENOSPC, "No space left on device")), "No space left"),
        (SmallFiles(), "File too large"),
    ],
)
def test_a_full_disk_leaves_what_there_was(doom, reason, whole, shapes_by_class, tmp_path):
    killed = Run(EPOCHS, shapes_by_class, tmp_path / "run", AtIteration(7, signal.SIGKILL))
    assert killed.finish() == -signal.SIGKILL
    before = {path: path.read_bytes() for path in killed.work_dir.glob("*.pth")}
    assert set(before) >= {killed.work_dir / "epoch_1.pth"}
    full = Run(EPOCHS, shapes_by_class, killed.work_dir, doom)
    assert full.finish() == 1
    assert f"error: {killed.work_dir}/epoch_2.pth cannot be written: {reason}" in full.output()
    assert {path: path.read_bytes() for path in killed.work_dir.glob("*.pth*")} == before
    assert read(killed.work_dir / POINTER) == f"{killed.work_dir}/epoch_1.pth"
    assert Run(EPOCHS, shapes_by_class, killed.work_dir).finish() == 0
    assert not differences(outcome(killed.work_dir), whole[EPOCHS])


def test_the_death_of_a_data_worker_is_told(shapes_by_class, tmp_path):
    run = Run(EPOCHS, shapes_by_class, tmp_path / "run", WorkersDie(7, signal.SIGKILL))
    assert run.finish() == 1
    assert re.search(r"error: (DataLoader|a data loader's) worker", run.output())
    assert "is out of memory" in run.output()
    check_checkpoint(read(run.work_dir / POINTER))


def test_a_death_that_torch_tells_meanwhile(monkeypatch):
    def strike(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(data, "traceback", SimpleNamespace(extract_tb=strike))
    told = pytest.raises(InputError, match=r"worker \(pid 7\) is killed .* out of memory")
    with told, data.explain_dead_workers():
        raise ConnectionResetError


@pytest.fixture(scope="module")
def whole_by_two(shapes_by_class, tmp_path_factory) -> dict:
    """What an uninterrupted run of two processes ends with."""
    work_dir = tmp_path_factory.mktemp("whole") / "two"
    assert run_ranks(EPOCHS, shapes_by_class, [work_dir] * 2) == [0, 0]
    return outcome(work_dir)


def test_processes_that_do_not_share_a_folder_are_told(shapes_by_class, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    doom = AtIteration(3, signal.SIGTERM, rank=0)
    assert run_ranks(EPOCHS, shapes_by_class, [here, here], doom) == [143, 143]
    assert run_ranks(EPOCHS, shapes_by_class, [here, elsewhere]) == [1, 1]
    assert (
        "go on from different iterations ([4, 0], by rank)" in here.with_suffix(".log").read_text()
    )


@pytest.mark.parametrize(("iteration", "saved"), [(3, INTERRUPTED), (4, "epoch_2.pth")])
def test_one_of_two_processes_is_told_to_stop(
    iteration, saved, whole_by_two, shapes_by_class, tmp_path
):
    """Both stop, and both go on; each validates by batch statistics of its own."""
    stopped = tmp_path / "stopped"
    doom = AtIteration(iteration, signal.SIGTERM, rank=1)
    assert run_ranks(EPOCHS, shapes_by_class, [stopped] * 2, doom) == [143, 143]
    assert Path(read(stopped / POINTER)).name == saved
    assert run_ranks(EPOCHS, shapes_by_class, [stopped] * 2) == [0, 0]
    assert not differences(outcome(stopped), whole_by_two)


def test_one_of_two_processes_dies(whole_by_two, shapes_by_class, tmp_path):
    """torchrun starts both again, which go on; when it may not any more, the run ends at once."""
    work_dir = tmp_path / "run"
    command = ["tools/dist_train.sh", "tests/configs/killed_ranks.py", "2"]
    options = ["--work-dir", str(work_dir), "--cfg-options", f"data_root={shapes_by_class}"]
    variables = dict(PYTHON=sys.executable, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, **variables, "MAX_RESTARTS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 128 + signal.SIGKILL, done.stdout[-3000:]
    assert time.time() - (work_dir / "died_5").stat().st_mtime < 60
    assert (work_dir / "died_3").exists()
    assert "Going on from " in done.stdout
    assert "error: process 1 was killed by SIGKILL" in done.stdout
    assert "error: process 0 has lost another" in done.stdout
    assert "Traceback" not in done.stdout
    assert run_ranks(EPOCHS, shapes_by_class, [work_dir] * 2) == [0, 0]
    assert not differences(outcome(work_dir), whole_by_two)


def test_the_gradient_scaler_goes_on(shapes_by_class, tmp_path):
    wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16", accumulative_counts=1)
    scale = dict(init_scale=1024.0, growth_interval=3)
    options = [f"optim_wrapper.{key}={value}" for key, value in wrapper.items()]
    options += [f"optim_wrapper.loss_scale.{key}={value}" for key, value in scale.items()]
    outcomes = []
    for name, doom in (("whole", None), ("killed", AtIteration(8, signal.SIGKILL))):
        work_dir = tmp_path / name
        if doom is not None:
            killed = Run(EPOCHS, shapes_by_class, work_dir, Scaled(doom), options=options)
            assert killed.finish() == -signal.SIGKILL, killed.output()[-3000:]
        run = Run(EPOCHS, shapes_by_class, work_dir, Scaled(), options=options)
        assert run.finish() == 0, run.output()[-3000:]
        outcomes.append(outcome(work_dir))
    assert outcomes[0]["optimizer"]["/loss_scaler/scale"] == 1024 * 2**5  # 15 steps
    assert not differences(*outcomes)


def test_data_do_not_depend_on_their_workers(whole, shapes_by_class, tmp_path):
    options = ("train_dataloader.num_workers=2", "train_dataloader.persistent_workers=False")
    run = Run(EPOCHS, shapes_by_class, tmp_path / "run", options=options)
    assert run.finish() == 0
    assert not differences(outcome(run.work_dir), whole[EPOCHS])


def test_deterministic_runs_are_alike_and_others_are_not(shapes_by_class, tmp_path):
    results = []
    for number, deterministic in enumerate((True, True, False, False)):
        run = Run(
            EPOCHS,
            shapes_by_class,
            tmp_path / str(number),
            options=("randomness.seed=None", "train_cfg.max_epochs=1"),
            deterministic=deterministic,
        )
        assert run.finish() == 0, run.output()[-3000:]
        results.append(training(outcome(run.work_dir)))
    assert not differences(results[0], results[1])
    assert differences(results[2], results[3])
    assert differences(results[0], results[2])


def save(path: Path, seed: int = 5, age: int = 0, **others) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save({"meta": {"seed": seed}, "optimizer": {}, **others}, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def choose(work_dir: Path, choice: str | None = "auto", **cfg) -> tuple[Config, list[str]]:
    config = Config(dict(work_dir=str(work_dir), **cfg))
    return config, set_up_resume(config, choice)


def test_the_latest_checkpoint_is_what_the_pointer_names(tmp_path):
    save(tmp_path / "epoch_2.pth")
    named = save(tmp_path / "epoch_1.pth", age=9)
    (tmp_path / POINTER).write_text(str(named))
    cfg, notes = choose(tmp_path)
    assert (cfg.resume, cfg.load_from, cfg.randomness.seed) == (True, str(named), 5)
    assert notes == [f"Going on from {named}."]
    (tmp_path / POINTER).write_text("/moved/from/epoch_1.pth")
    assert choose(tmp_path)[0].load_from == str(named)


def test_without_a_pointer_the_newest_is_taken(tmp_path):
    save(tmp_path / "best_epoch_9.pth")
    save(tmp_path / "epoch_9.pth", age=9)
    newest = save(tmp_path / INTERRUPTED)
    assert choose(tmp_path)[0].load_from == str(newest)


@pytest.mark.parametrize("pointer", [None, ""])
def test_without_a_checkpoint_of_its_own_a_run_starts_anew(pointer, tmp_path):
    if pointer is not None:  # a new run in an old one's folder
        save(tmp_path / "epoch_9.pth")
        (tmp_path / POINTER).write_text(pointer)
    cfg, notes = choose(tmp_path, load_from="weights.pth")
    assert (cfg.resume, cfg.load_from) == (False, "weights.pth")
    assert "training starts anew" in notes[0]


def test_damaged_checkpoints_alone_are_an_error(tmp_path):
    path = save(tmp_path / "epoch_1.pth")
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / POINTER).write_text(str(path))
    with pytest.raises(InputError, match=r"no checkpoint can be used:\n.*epoch_1.pth is damaged"):
        choose(tmp_path)
    with pytest.raises(CheckpointError, match=r"epoch_1.pth is damaged: it is cut short"):
        choose(tmp_path, str(path))


@pytest.mark.parametrize("at", [0, 1])  # within the tensor's bytes, within the file's directory
def test_damage_anywhere_in_a_checkpoint_is_found(at, tmp_path):
    path = save(tmp_path / "epoch_1.pth", state_dict={"weight": torch.ones(9999)})
    content = bytearray(path.read_bytes())
    content[(len(content) // 3, content.rindex(b"PK\x01\x02"))[at]] ^= 255
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"epoch_1.pth is damaged: "):
        choose(tmp_path, str(path))


def test_a_checkpoint_of_a_server_is_left_to_mmengine(tmp_path):
    url = "https://example.org/epoch_1.pth"
    cfg, notes = choose(tmp_path, url)
    assert (cfg.resume, cfg.load_from, notes) == (True, url, [])


def test_the_signal_again_ends_the_run_at_once(monkeypatch):
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    hook = StopHook()
    hook.before_train(None)
    try:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun's, of the same Ctrl-C
        monkeypatch.setattr(signals, "PATIENCE", -1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        hook.release()
        signal.signal(signal.SIGINT, former)


def test_weights_alone_cannot_be_resumed(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no optimizer state to resume"):
        choose(tmp_path, str(tmp_path / "weights.pth"))


def test_the_seed_of_the_checkpoint_holds(tmp_path):
    path = save(tmp_path / "epoch_1.pth")
    cfg, notes = choose(tmp_path, str(path), randomness=dict(seed=6, deterministic=True))
    assert cfg.randomness == dict(seed=5, deterministic=True)
    assert notes == ["The checkpoint's seed 5 holds, not the config's 6."]


def test_a_run_that_was_restarted_goes_on(tmp_path, monkeypatch):
    path = save(tmp_path / "epoch_1.pth")
    assert not choose(tmp_path, None)[0].get("resume")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert choose(tmp_path, None)[0].load_from == str(path)


def test_config_that_resumes_by_itself_does_as_the_option(tmp_path):
    path = save(tmp_path / "epoch_1.pth")
    assert choose(tmp_path, None, resume=True)[0].load_from == str(path)
