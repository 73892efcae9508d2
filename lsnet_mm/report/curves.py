"""What a work folder's logs tell: the curves of all its runs, resumed ones joined, and tests."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

TIME_STAMP = re.compile(r"\d{8}_\d{6}")
EPOCH_LENGTH = re.compile(r"Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]")
SETTING = re.compile(r"^ {4}(\w[^:]*): (.*)$", re.MULTILINE)
PLACES = ("epoch", "iter", "step")  # that say where a line stands, and measure nothing
TIMES = ("time", "data_time")

# mm's names of metrics: what the field calls them, and the factor to per cent.
METRICS = {
    **{
        f"coco/{kind}_mAP{suffix}": (f"{name} AP{shown}", 100)
        for kind, name in (("bbox", "box"), ("segm", "mask"))
        for suffix, shown in (
            *(("", ""), ("_50", "50"), ("_75", "75")),
            *(("_s", " small"), ("_m", " medium"), ("_l", " large")),
        )
    },
    "mIoU": ("mIoU", 1),
    "mAcc": ("mAcc", 1),
    "aAcc": ("aAcc", 1),
    "accuracy/top1": ("top-1", 1),
    "accuracy/top5": ("top-5", 1),
}
MAIN_METRICS = ("box AP", "mask AP", "mIoU", "top-1")

Curve = dict[int, float]  # value by step, in the order of steps


class Run(NamedTuple):
    """One start of training.

    Attributes:
        name: Time stamp of its folder.
        first: First iteration that it logged.
        last: Last iteration that it logged.
        damaged: Lines of its log that could not be read: it was killed while writing.
    """

    name: str
    first: int
    last: int
    damaged: int


@dataclass
class History:
    """The curves of a work folder. Where a run goes on from an earlier step, it replaces the rest.

    Attributes:
        runs: Those that logged anything, oldest first.
        by_epoch: Whether ``metrics`` counts epochs, not iterations.
        epoch_length: Iterations per epoch, or None without epochs.
        train: Values logged in training by name and iteration: losses, ``lr``, ``grad_norm``, ...
        epochs: Epoch of each iteration in ``train``; empty without epochs.
        metrics: Validation results by name (as the field calls them) and epoch or iteration.
    """

    runs: list[Run] = field(default_factory=list)
    by_epoch: bool = False
    epoch_length: int | None = None
    train: dict[str, Curve] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    metrics: dict[str, Curve] = field(default_factory=dict)

    @property
    def last_iteration(self) -> int:
        """The last iteration logged, 0 if there is none."""
        return self.runs[-1].last if self.runs else 0

    def epoch_losses(self) -> Curve:
        """Mean training loss of every epoch that is over."""
        losses: dict[int, list[float]] = {}
        for iteration, loss in self.train.get("loss", {}).items():
            losses.setdefault(self.epochs.get(iteration, 0), []).append(loss)
        validated = max((max(curve) for curve in self.metrics.values()), default=0)
        over = max(validated, max(losses, default=0) - 1)
        return {e: sum(v) / len(v) for e, v in sorted(losses.items()) if 1 <= e <= over}


def run_folders(work_dir: Path) -> list[Path]:
    """Folders that mmengine made, one for each start of a tool, oldest first."""
    return sorted(path for path in work_dir.iterdir() if TIME_STAMP.fullmatch(path.name))


def read_history(work_dir: Path) -> History:
    """Read the scalars of every run in a work folder; damaged lines are left out."""
    history = History()
    for folder in run_folders(work_dir):
        path = folder / "vis_data" / "scalars.json"
        if path.is_file():
            _add_run(history, folder, path)
    return history


def _add_run(history: History, folder: Path, path: Path) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = [entry for line in lines if (entry := _parse(line)) is not None]
    steps = [entry for entry in entries if "iter" in entry]
    if not steps:
        return
    first, last = int(steps[0]["iter"]), int(steps[-1]["iter"])
    history.by_epoch = "epoch" in steps[0]
    _forget(history, first, int(steps[0].get("epoch", first)))
    history.runs.append(Run(folder.name, first, last, len(lines) - len(entries)))
    iteration = 0
    for entry in entries:
        if "iter" in entry:
            iteration = int(entry["iter"])
            if history.by_epoch:
                history.epochs[iteration] = int(entry.get("epoch", 0))
            _add(history.train, iteration, entry)
        else:
            # Loops without epochs may log validation by epoch all the same, which is always 0.
            step = int(entry["step"]) if history.by_epoch else max(int(entry["step"]), iteration)
            _add(history.metrics, step, named(entry))
    if history.by_epoch:
        logged = EPOCH_LENGTH.search(_log(folder))
        least = max(-(-i // max(epoch, 1)) for i, epoch in history.epochs.items())
        history.epoch_length = int(logged[1]) if logged else least


def _parse(line: str) -> dict[str, float] | None:
    """The numbers of a line, or None if it is damaged."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
        return None
    return {key: value for key, value in entry.items() if isinstance(value, int | float)}


def _forget(history: History, iteration: int, epoch: int) -> None:
    """Drop what a run that begins here trains again."""
    since = epoch if history.by_epoch else iteration
    for curves, start in ((history.train, iteration), (history.metrics, since)):
        for curve in curves.values():
            for step in [step for step in curve if step >= start]:
                del curve[step]
    history.epochs = {i: e for i, e in history.epochs.items() if i < iteration}


def _add(curves: dict[str, Curve], step: int, entry: dict[str, float]) -> None:
    for name, value in entry.items():
        if name not in (*PLACES, *TIMES):
            curves.setdefault(name, {})[step] = float(value)


def named(results: dict[str, Any]) -> dict[str, float]:
    """Metrics by the names of the field, AP in per cent; those not known here as they are."""
    shown = {}
    for key, value in results.items():
        if isinstance(value, int | float) and key not in (*PLACES, *TIMES):
            name, factor = METRICS.get(key, (key, 1))
            shown[name] = factor * value
    return shown


def read_tests(work_dir: Path) -> dict[str, dict[str, float]]:
    """Results that tests left in a work folder or in a folder within, by their path in it."""
    found = {}
    paths = [*work_dir.glob("*/*.json"), *work_dir.glob("*/*/*.json")]
    for path in sorted(paths, key=lambda path: path.stem):
        if path.stem == path.parent.name and TIME_STAMP.fullmatch(path.stem):
            try:
                results = named(json.loads(path.read_text()))
            except (ValueError, AttributeError):  # killed while writing
                continue
            if results:
                found[str(path.parent.relative_to(work_dir))] = results
    return found


def read_environment(folder: Path) -> dict[str, str]:
    """Versions, machine and seed that the run of a folder logged; empty if there is no log."""
    _, _, tail = _log(folder).partition("System environment:")
    return dict(_settings(tail.partition("Config:")[0]))


def _settings(text: str) -> Iterator[tuple[str, str]]:
    for name, value in SETTING.findall(text):
        if "compiling details" not in name:
            yield name, value


def _log(folder: Path) -> str:
    path = folder / f"{folder.name}.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
