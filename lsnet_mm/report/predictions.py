"""Predictions on a config's test set: made by its newest checkpoint, or read from a file."""

import os.path as osp
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from lsnet_mm.check.files import UnusableFileError
from lsnet_mm.check.grid import pick
from lsnet_mm.engine.data import check_paths, explain_empty_data
from lsnet_mm.engine.run import test
from lsnet_mm.errors import InputError
from lsnet_mm.evaluation import DUMPS
from lsnet_mm.loading import load_pickle, trusted

from .results import Results

# What measures a library's predictions (as its package may not be installed), and what it needs.
TASKS = {
    "mmdet": ("detection", "pred_instances"),
    "mmseg": ("segmentation", "pred_sem_seg"),
    "mmpretrain": ("classification", "pred_score"),
}

Predictions = Sequence[dict[str, Any]]


def find_checkpoint(work_dir: Path, cfg: Config) -> str:
    """Return the checkpoint to test: the best, else the last, else the one that was tested.

    Raises:
        InputError: If there is none.
    """
    best = _newest(work_dir.glob("best_*.pth"))
    if best:
        return best
    pointer = work_dir / "last_checkpoint"
    if pointer.is_file():
        last = work_dir / Path(pointer.read_text().strip()).name  # the folder may have been moved
        if last.is_file():
            return str(last)
    newest = _newest(work_dir.glob("*.pth"))
    if newest:
        return newest
    if cfg.get("load_from") and osp.isfile(cfg.load_from):
        return cfg.load_from
    raise InputError(f"there is no checkpoint in {work_dir}; name one: --checkpoint FILE")


def _newest(paths: Any) -> str | None:
    return str(max(found, key=osp.getmtime)) if (found := list(paths)) else None


def open_dataset(cfg: Config, max_images: int | None = None) -> BaseDataset:
    """Return the config's test set, of which only a part is used if ``max_images`` says so.

    Raises:
        InputError: If its files are not there or do not fit the config, or it is of no task here.
    """
    if not cfg.get("test_dataloader"):
        raise InputError("the config sets no test_dataloader")
    check_paths(cfg, ("test_dataloader",))
    init_default_scope(_scope(cfg))
    settings = cfg.test_dataloader.dataset
    try:
        with explain_empty_data(cfg.test_dataloader):
            dataset = DATASETS.build(settings)
        if max_images and max_images < len(dataset):
            settings.indices = pick(len(dataset), max_images).tolist()
            dataset = DATASETS.build(settings)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AssertionError, OSError) as error:
        raise InputError(f"the test set cannot be built: {error}") from error
    return dataset


def predict(cfg: Config, checkpoint: str, folder: Path) -> Path:
    """Run a checkpoint over the config's test set and return the file of its predictions.

    Args:
        cfg: The config; its evaluators are replaced.
        checkpoint: The weights.
        folder: For the predictions and the log of the run.

    Raises:
        InputError: If they do not fit the model or the data does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "predictions.pkl"
    cfg.test_evaluator = [dict(type=DUMPS[_scope(cfg)], out_file_path=str(out))]
    config = folder / "config.py"
    cfg.dump(config)
    run = dict(config=str(config), checkpoint=checkpoint, work_dir=str(folder), launcher="none")
    run["trust_checkpoint"] = bool(trusted())
    unused = ("cfg_options", "show", "show_dir", "wait_time", "tta", "fold", "out", "compile")
    test(Namespace(**run, **dict.fromkeys(unused)))
    return out


def read_predictions(path: Path) -> Predictions:
    """Read what ``tools/test.py --out`` wrote, as data.

    Raises:
        InputError: If the file is not there or is something else; or as
            :class:`~lsnet_mm.errors.UnsafeFileError`, if it is more than data.
    """
    if not path.is_file():
        raise InputError(f"predictions not found: {path}")
    try:
        with path.open("rb") as file:
            found = load_pickle(file)
    except InputError:
        raise
    except Exception as error:  # unpickling damaged data raises anything
        raise InputError(
            f"{path} cannot be read as predictions of tools/test.py --out: {error!r}"
        ) from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError(f"{path} holds no list of predictions, as tools/test.py --out writes it")
    return found


def check_predictions(
    predictions: Predictions, dataset: BaseDataset, cfg: Config, name: str
) -> None:
    """Check that predictions are of a data set.

    Args:
        predictions: What was read.
        dataset: What they should be of.
        cfg: Config that tells the task.
        name: What the predictions are called.

    Raises:
        InputError: If they are of another task or of other images.
    """
    task, key = TASKS[_scope(cfg)]
    if not all(key in item for item in predictions):
        raise InputError(f"{name} holds no predictions of {task}: {key} is missing")
    if len(predictions) != len(dataset):
        raise InputError(
            f"{name} holds {len(predictions)} predictions, but the config's test set has "
            f"{len(dataset)} images: they are of another data set"
        )
    for i, item in enumerate(predictions):
        ours, theirs = dataset.get_data_info(i)["img_path"], item.get("img_path")
        if theirs and osp.basename(theirs) != osp.basename(ours):
            raise InputError(
                f"{name} is of another data set: image {i} is {theirs}, the test set's is {ours}"
            )


def measure(dataset: BaseDataset, predictions: Predictions, cfg: Config) -> Results:
    """Measure predictions in the way of their task.

    Raises:
        InputError: If the data set is of a kind not known here, or a file of it cannot be read.
    """
    module = import_module(f".{TASKS[_scope(cfg)][0]}", __package__)
    try:
        return module.measure(dataset, predictions)
    except UnusableFileError as error:
        raise InputError(f"{error.problem.path}: {error.problem.what}") from error


def _scope(cfg: Config) -> str:
    scope = cfg.get("default_scope")
    if scope not in TASKS:
        raise InputError(f"default_scope must be one of {', '.join(TASKS)}, got {scope!r}")
    return scope
