"""Logs read back: resumed runs joined, damaged lines left out."""

import json
from pathlib import Path

from lsnet_mm.report.curves import read_environment, read_history, read_tests


def write_log(work_dir: Path, name: str, *entries: dict, end: str = "", log: str = "") -> None:
    folder = work_dir / name / "vis_data"
    folder.mkdir(parents=True)
    lines = [json.dumps(entry) + "\n" for entry in entries]
    (folder / "scalars.json").write_text("".join(lines) + end)
    if log:
        (folder.parent / f"{name}.log").write_text(log)


def train(iteration: int, loss: float, epoch: int | None = None) -> dict:
    entry = dict(lr=0.1, loss=loss, time=1.0, iter=iteration, step=iteration)
    return entry if epoch is None else dict(entry, epoch=epoch)


def test_a_resumed_run_replaces_what_it_trains_again(tmp_path):
    write_log(
        tmp_path,
        "20260101_000000",
        *(train(2, 4.0, 1), train(4, 3.0, 1), {"coco/bbox_mAP": 0.1, "step": 1}),
        *(train(6, 2.0, 2), {"coco/bbox_mAP": 0.2, "step": 2}, train(9, 1.9, 3)),
        end='{"lr": 0.1, "lo',  # killed while writing
        log="Epoch(train)  [1][2/4]  lr: 0.1",
    )
    write_log(tmp_path, "20260102_000000")  # killed before it logged anything
    write_log(
        tmp_path,
        "20260103_000000",
        *(train(5, 2.5, 2), train(8, 1.5, 2), {"coco/bbox_mAP": 0.25, "step": 2}),
    )
    history = read_history(tmp_path)
    assert history.train["loss"] == {2: 4.0, 4: 3.0, 5: 2.5, 8: 1.5}
    assert history.metrics == {"box AP": {1: 10.0, 2: 25.0}}
    assert history.epoch_losses() == {1: 3.5, 2: 2.0}
    assert history.by_epoch
    assert history.epoch_length == 4
    assert [tuple(run) for run in history.runs] == [
        ("20260101_000000", 2, 9, 1),
        ("20260103_000000", 5, 8, 0),
    ]


def test_an_epoch_counts_when_it_is_over(tmp_path):
    write_log(tmp_path, "20260101_000000", train(2, 4.0, 1), train(4, 3.0, 2))
    assert read_history(tmp_path).epoch_losses() == {1: 4.0}


def test_iterations_need_no_epochs(tmp_path):
    write_log(
        tmp_path,
        "20260101_000000",
        *(train(10, 3.0), dict(mIoU=40.0, step=10), train(20, 2.0), dict(mIoU=41.0, step=0)),
    )
    history = read_history(tmp_path)
    assert not history.by_epoch
    assert history.metrics == {
        "mIoU": {10: 40.0, 20: 41.0}
    }  # the 0 is of a hook that counts epochs
    assert history.epoch_losses() == {}


def test_lines_of_another_kind_are_damaged_ones(tmp_path):
    lines = '[1]\nnull\n"text"\n{"loss": 1.0}\n\x00\n'
    write_log(tmp_path, "20260101_000000", train(10, float("nan")), end=lines)
    history = read_history(tmp_path)
    assert history.runs[0].damaged == 5
    assert str(history.train["loss"]) == "{10: nan}"


def test_tests_and_environment_are_found(tmp_path):
    folder = tmp_path / "test/20260101_000000"
    folder.mkdir(parents=True)
    (folder / "20260101_000000.json").write_text('{"mIoU": 40.1, "time": 0.1}')
    (folder / "20260101_000000.log").write_text(
        "System environment:\n    Python: 3.11\n    PyTorch compiling details: long\n"
        "  - GCC 13.3\n\nRuntime environment:\n    GPU number: 8\n---\nConfig:\n    a: 1\n"
    )
    assert read_tests(tmp_path) == {"test/20260101_000000": {"mIoU": 40.1}}
    assert read_environment(folder) == {"Python": "3.11", "GPU number": "8"}
    assert read_environment(tmp_path) == {}
