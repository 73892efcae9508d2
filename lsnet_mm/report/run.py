"""What ``tools/report.py`` does: one HTML page of all that a work folder tells."""

import argparse
import os.path as osp
import shlex
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from lsnet_mm.engine.run import load_config
from lsnet_mm.errors import InputError
from lsnet_mm.loading import guarded

from .curves import History, read_environment, read_history, read_tests, run_folders
from .page import render
from .predictions import (
    check_predictions,
    find_checkpoint,
    measure,
    open_dataset,
    predict,
    read_predictions,
)
from .published import CURVES, Published
from .results import Results
from .verdict import Verdict, judge


@dataclass
class Report:
    """All that the page shows.

    Attributes:
        name: Of the config.
        work_dir: The run's folder.
        cfg: The run's config.
        history: Its curves.
        published: The authors' curves of the config, None if there are none.
        verdict: How the two compare.
        tests: Results of tests by folder, the newest last.
        results: Of the predictions, None if there are none.
        source: What made the predictions, or why there are none.
        environment: Versions, machine and seed.
        commands: What repeats the run.
    """

    name: str
    work_dir: Path
    cfg: Config
    history: History
    published: Published | None
    verdict: Verdict
    tests: dict[str, dict[str, float]]
    results: Results | None
    source: str
    environment: dict[str, str]
    commands: list[str]


@guarded
def report(args: argparse.Namespace) -> Path:
    """Write the page that ``tools/report.py``'s arguments ask for, and return its path.

    What the arguments name must be there. What is looked for without being named, checkpoint and
    data set, may be missing: the page says so.

    Raises:
        InputError: If the folder has no run, or a file that is named cannot be used.
    """
    work_dir = Path(args.work_dir)
    newest = _newest_config(work_dir)
    history, tests = read_history(work_dir), read_tests(work_dir)
    folder = work_dir / history.runs[-1].name if history.runs else run_folders(work_dir)[-1]
    environment = read_environment(folder)
    config = _own_config(folder, newest)
    cfg = load_config(
        argparse.Namespace(
            config=str(config),
            cfg_options=args.cfg_options,
            work_dir=str(work_dir),
            launcher="none",
        )
    )
    results, source = _results(args, work_dir, deepcopy(cfg))
    published = CURVES.get(newest.stem)
    processes = environment.get("GPU number", "")
    tested = list(tests.values())[-1] if tests else results.numbers if results else {}
    page = render(
        Report(
            name=newest.stem,
            work_dir=work_dir,
            cfg=cfg,
            history=history,
            published=published,
            verdict=judge(
                history, tested, published, cfg, int(processes) if processes.isdigit() else None
            ),
            tests=tests,
            results=results,
            source=source,
            environment=environment,
            commands=list(_commands(config, work_dir, history, processes)),
        )
    )
    out = Path(args.out or work_dir / "report.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def _newest_config(work_dir: Path) -> Path:
    """The config, by its own name, of the folder's last run."""
    if not work_dir.is_dir():
        raise InputError(f"work folder not found: {work_dir}")
    configs = sorted(work_dir.glob("*.py"), key=osp.getmtime)
    if not configs or not run_folders(work_dir):
        raise InputError(
            f"there is no run in {work_dir}: it should have the config and a folder named by date "
            "and time, as tools/train.py and tools/test.py leave them in their --work-dir"
        )
    return configs[-1]


def _own_config(folder: Path, newest: Path) -> Path:
    """The config that a run kept with its scalars, if a later test has replaced the named one."""
    kept = folder / "vis_data" / "config.py"
    if not kept.is_file() or kept.read_text() == newest.read_text():
        return newest
    return kept


def _results(args: argparse.Namespace, work_dir: Path, cfg: Config) -> tuple[Results | None, str]:
    """Results of predictions and what made them, or None and why there are none."""
    if args.no_predictions:
        return None, "Predictions were left out (--no-predictions)."
    if args.checkpoint and "://" not in args.checkpoint and not osp.isfile(args.checkpoint):
        raise InputError(f"checkpoint not found: {args.checkpoint}")
    if args.predictions and args.max_images:
        raise InputError("--max-images does not go with --predictions, which are of all images")
    predictions = read_predictions(Path(args.predictions)) if args.predictions else None
    try:
        dataset = open_dataset(cfg, args.max_images)
    except InputError as error:
        return None, f"There are no predictions: {error}"
    name = args.predictions or args.checkpoint
    try:
        if predictions is None:
            name = name or find_checkpoint(work_dir, cfg)
            predictions = read_predictions(predict(cfg, name, work_dir / "report"))
        check_predictions(predictions, dataset, cfg, name)
        return measure(dataset, predictions, cfg), f"Predictions: {name}."
    except InputError as error:
        if args.predictions or args.checkpoint:
            raise
        return None, f"There are no predictions: {error}"


def _commands(config: Path, work_dir: Path, history: History, processes: str) -> Iterator[str]:
    """Commands that repeat the run with the settings that it was found to have."""
    if not history.runs:
        yield f"python tools/test.py {shlex.quote(str(config))} CHECKPOINT"
        return
    folder = f"--work-dir {shlex.quote(f'{work_dir}_again')}"
    if processes.isdigit() and int(processes) > 1:
        yield f"tools/dist_train.sh {shlex.quote(str(config))} {processes} {folder}"
    else:
        yield f"python tools/train.py {shlex.quote(str(config))} {folder}"
