"""What ``tools/check_dataset.py`` does: the data of a config is checked before a long run."""

import argparse
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, MODELS, init_default_scope

from lsnet_mm.check.classification import ClassificationContents
from lsnet_mm.check.coco import CocoContents
from lsnet_mm.check.coco_file import check_evaluator
from lsnet_mm.check.contents import Contents
from lsnet_mm.check.files import Problem, UnusableFileError, inspect_files
from lsnet_mm.check.grid import draw_grid, pick
from lsnet_mm.check.report import full_list, problem_lines
from lsnet_mm.check.semantic import SemanticContents
from lsnet_mm.check.statistics import image_lines, listed
from lsnet_mm.engine.data import check_paths, class_counts, class_misfits
from lsnet_mm.engine.run import load_config
from lsnet_mm.errors import InputError

SPLITS = ("train", "val", "test")

# Settings that do not tell which data is read. Filters and subsets do, but the whole is checked.
USE = (
    *("pipeline", "test_mode", "filter_cfg", "indices"),
    *("lazy_init", "max_refetch", "serialize_data"),
)


@dataclass
class Part:
    """A data set of a config, which may be read by several loaders.

    Attributes:
        name: The first loader's split; train_2 is the second data set of train.
        splits: Of the loaders that read it.
        dataset: Not initialised.
        masks: Whether a pipeline loads masks.
    """

    name: str
    splits: list[str]
    dataset: BaseDataset
    masks: bool


@dataclass
class Checked:
    """What is kept of a data set to compare it with others.

    Attributes:
        part: The data set.
        contents: What it holds.
        looked_at: The images that were inspected, indices into the paths of ``contents``.
        digests: Of those, as ``Inspection.digests``.
    """

    part: Part
    contents: Contents
    looked_at: Sequence[int]
    digests: np.ndarray


def check(args: argparse.Namespace) -> bool:
    """Check data as ``tools/check_dataset.py``'s arguments say, and tell whether all is well.

    Prints statistics and problems. Writes grids of thumbnails and the full list of problems to
    the work folder.

    Raises:
        InputError: If the config or the data is not there, or is of a kind not known here.
    """
    cfg = load_config(args)
    check_paths(cfg, [f"{split}_dataloader" for split in SPLITS])
    init_default_scope(cfg.get("default_scope", "mmengine"))
    parts = find_parts(cfg)
    if not parts:
        raise InputError(f"{args.config} sets no data loader")
    counts = _predicted_classes(cfg)
    work_dir = Path(cfg.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    problems = _evaluator_problems(cfg, parts)
    checked = []
    for part in parts:
        found, seen = _check_part(part, counts, args, work_dir)
        problems += found
        checked.append(seen)
    problems += folder_problems({seen.part.name: seen.contents for seen in checked})
    problems += shared_images(checked)
    return _report(problems, sum(len(seen.looked_at) for seen in checked), work_dir)


def _report(problems: Sequence[Problem], images: int, work_dir: Path) -> bool:
    """Print and write the problems, and tell whether none is an error."""
    list_file = work_dir / "dataset_problems.txt"
    list_file.write_text(full_list(problems), encoding="utf-8")
    print("", *problem_lines(problems), sep="\n")
    errors = sum(not problem.warning for problem in problems)
    warnings = len(problems) - errors
    if errors:
        print(f"errors: {errors}, warnings: {warnings}; all of them in {list_file}")
    else:
        print(f"all is well: {images} images looked at, warnings: {warnings}; see {work_dir}")
    return not errors


# The data sets of a config.


def find_parts(cfg: Mapping[str, Any]) -> list[Part]:
    """Return the data sets that a config's loaders read, each once, those in wrappers too.

    Raises:
        InputError: If a data set cannot be made of its settings, or its files are not there.
    """
    parts: dict[str, Part] = {}
    for split in SPLITS:
        leaves = list(_leaves((cfg.get(f"{split}_dataloader") or {}).get("dataset")))
        for number, leaf in enumerate(leaves, start=1):
            name = split if number == 1 else f"{split}_{number}"
            settings = {key: value for key, value in leaf.items() if key not in USE}
            key = str(sorted(settings.items()))
            if key not in parts:
                parts[key] = Part(name, [], _build(name, settings), False)
            if split not in parts[key].splits:
                parts[key].splits.append(split)
            parts[key].masks |= any(step.get("with_mask") for step in leaf.get("pipeline", ()))
    return list(parts.values())


def _leaves(node: Any) -> Iterator[ConfigDict]:
    """Yield the configs of data sets that are no wrappers of others."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _leaves(item)
    elif isinstance(node, dict):
        wrapped = [node[key] for key in ("dataset", "datasets") if node.get(key)]
        if wrapped:
            yield from _leaves(wrapped)
        else:
            yield node


def _build(name: str, settings: dict[str, Any]) -> BaseDataset:
    """Build a data set that reads nothing yet."""
    try:
        dataset = DATASETS.build({**settings, "lazy_init": True})
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"{name}: the data set cannot be built: {error}") from error
    for path in (dataset.ann_file, *dataset.data_prefix.values()):
        if path and not osp.exists(path):
            raise InputError(f"{name}: data not found: {path}")
    return dataset


def _predicted_classes(cfg: Config) -> dict[str, int]:
    """Return how many classes the parts of the config's model predict, by their paths."""
    if not cfg.get("model"):
        return {}
    model = ConfigDict(cfg.model)
    if cfg.get("data_preprocessor"):  # as the runner does
        model.setdefault("data_preprocessor", cfg.data_preprocessor)
    return class_counts(MODELS.build(model))


# The checks.


def _check_part(
    part: Part, counts: Mapping[str, int], args: argparse.Namespace, work_dir: Path
) -> tuple[list[Problem], Checked]:
    """Check a data set, print its statistics and draw some of its images."""
    kind = type(part.dataset).__name__
    source = part.dataset.ann_file or next(iter(part.dataset.data_prefix.values()))
    print(f"{part.name}: {kind}, {source}", flush=True)
    contents = read_contents(part, max(counts.values(), default=0))
    total = len(contents.paths)
    looked_at = pick(total, args.sample) if args.sample else range(total)
    items = [contents.items[i] for i in looked_at]
    found = inspect_files(contents.inspect, items, args.workers, part.name)
    misfits = class_misfits(counts, f"{kind} ({source})", len(contents.classes))
    problems = [
        *(Problem("heads that do not fit the data", args.config, what) for what in misfits),
        *contents.problems,
        *found.problems,
    ]
    if not total and not contents.problems:
        problems.append(Problem("data sets without images", source, "has none"))
    lines = [*image_lines(found.sizes, total), *(contents.statistics(found) if total else ())]
    print(*(f"  {line}" for line in lines), sep="\n")
    _draw(contents, work_dir / f"dataset_{part.name}.jpg")
    return problems, Checked(part, contents, looked_at, found.digests)


def read_contents(part: Part, num_classes: int) -> Contents:
    """Return what a data set holds; which library's class it is of tells how it is read.

    Raises:
        InputError: If it is of no kind that is known here.
    """
    ancestors = type(part.dataset).__mro__
    names = {ancestor.__name__ for ancestor in ancestors}
    if "CocoDataset" in names:
        return CocoContents(part.dataset, part.masks)
    if "BaseSegDataset" in names:
        return SemanticContents(part.dataset, num_classes)
    if any(ancestor.__module__.startswith("mmpretrain.") for ancestor in ancestors):
        return ClassificationContents(part.dataset, num_classes, "train" in part.splits)
    raise InputError(
        f"{part.name}: {type(part.dataset).__name__} cannot be checked: it is neither mmdet's "
        "CocoDataset nor of mmseg or mmpretrain"
    )


def _draw(contents: Contents, path: Path) -> None:
    """Write a grid of thumbnails, of those images that can be read."""
    thumbnails = []
    for index in contents.shown:
        try:
            thumbnails.append(contents.thumbnail(index))
        except UnusableFileError:
            continue
    if thumbnails:
        draw_grid(thumbnails, contents.classes, contents.palette).save(path, quality=90)


def _evaluator_problems(cfg: Config, parts: Sequence[Part]) -> list[Problem]:
    """Return what is wrong with annotation files that evaluators read for themselves."""
    readers: dict[tuple[str, ...], list[str]] = {}
    for split in ("val", "test"):
        loader_files = [part.dataset.ann_file for part in parts if split in part.splits]
        for ann_file in _ann_files(cfg.get(f"{split}_evaluator")):
            if loader_files:
                readers.setdefault((ann_file, *loader_files), []).append(split)
    return [
        problem
        for (ann_file, *loader_files), splits in readers.items()
        for problem in check_evaluator(ann_file, " and ".join(splits), loader_files)
    ]


def _ann_files(node: Any) -> Iterator[str]:
    """Yield the annotation files in an evaluator's config."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _ann_files(item)
    elif isinstance(node, dict):
        if isinstance(node.get("ann_file"), str):
            yield node["ann_file"]
        yield from _ann_files(node.get("metrics"))


def folder_problems(found: Mapping[str, Contents]) -> list[Problem]:
    """Return errors of class folders that are not the same for training and evaluation.

    Labels are their positions in alphabetical order: they would not mean the same.

    Args:
        found: What the data sets hold, by name; the others are compared with the first.
    """
    with_folders = [(name, held.folders) for name, held in found.items() if held.folders]
    problems = []
    for (first, ours), (other, theirs) in product(with_folders[:1], with_folders[1:]):
        mine, others = (set(map(osp.basename, folders)) for folders in (ours, theirs))
        for name, alone in ((first, mine - others), (other, others - mine)):
            if alone:
                kind = f"class folders of {first} and {other} that differ"
                what = f"only {name} has {listed(sorted(alone))}: labels would be wrong"
                problems.append(Problem(kind, osp.dirname(theirs[0]), what))
    return problems


def shared_images(checked: Sequence[Checked]) -> list[Problem]:
    """Return warnings of images that are in training and in evaluation data.

    They are told by their path, and by the content of those files that were looked at.
    """
    train = [seen for seen in checked if "train" in seen.part.splits]
    others = [seen for seen in checked if set(seen.part.splits) - {"train"}]
    return [problem for a, b in product(train, others) for problem in _shared_by(a, b)]


def _shared_by(a: Checked, b: Checked) -> Iterator[Problem]:
    if a is b:
        what = f"is read for {' and '.join(a.part.splits)}"
        source = a.part.dataset.ann_file or next(iter(a.part.dataset.data_prefix.values()))
        yield Problem("data that is trained on and evaluated", source, what, True)
        return
    kind = f"images in {a.part.name} and in {b.part.name}"
    content_a, content_b = _by_digest(a, b.digests), _by_digest(b, a.digests)
    for digest, path in content_a.items():
        yield Problem(kind, path, f"equals {content_b[digest]}", True)
    same = set.intersection(*(set(map(osp.abspath, seen.contents.paths)) for seen in (a, b)))
    for path in sorted(same.difference(map(osp.abspath, content_a.values()))):
        yield Problem(kind, path, "is in both", True)


def _by_digest(seen: Checked, digests: np.ndarray) -> dict[int, str]:
    """Return the images whose content has one of the digests, by digest."""
    shared = np.isin(seen.digests, digests) & (seen.digests > 0)
    paths = seen.contents.paths
    return {int(seen.digests[i]): paths[seen.looked_at[i]] for i in np.flatnonzero(shared)}
