"""Where the parts of a data set lie in its folder, and what was found there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsnet_mm.check.files import Problem
from lsnet_mm.check.report import problem_lines
from lsnet_mm.check.statistics import listed
from lsnet_mm.errors import InputError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}


@dataclass
class OwnData:
    """What a config says of a user's data set.

    Attributes:
        classes: Class names, in the order of their labels.
        images: Images that are trained on.
        common: Settings that the data sets for training and validation share.
        train: Settings of the data set for training.
        val: Settings of the data set for validation, or None without any.
        ann_file: COCO annotation file for validation, or None for other formats.
        summary: Lines on what was found.
        warnings: Lines on what will be a problem, perhaps.
    """

    classes: list[str]
    images: int
    common: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    val: dict[str, Any] | None = None
    ann_file: str | None = None
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def tells(path: Path, root: Path, split: str) -> bool:
    """Tell whether a path, as seen from ``root``, has a word for a split: train2017, valid/..."""
    seen = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    words = re.split(r"[^a-z]+", str(seen).lower())
    return any(word in words for word in SPLITS[split])


def given(path: Path | None, root: Path, option: str) -> Path | None:
    """Return a path that an option names, as it is or in the data set's folder.

    Raises:
        InputError: If it is in neither.
    """
    if path is None:
        return None
    for candidate in (path, root / path):
        if candidate.exists():
            return candidate
    raise InputError(f"{option}: neither {path} nor {root / path} exists")


def from_root(path: Path, root: Path) -> str:
    """Return a path as a config has it beside ``data_root``: from there if it lies there."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path.resolve())


def folders(root: Path) -> Iterator[Path]:
    """Yield ``root``, the folders in it and those in them."""
    yield root
    for pattern in ("*", "*/*"):
        yield from (path for path in sorted(root.glob(pattern)) if path.is_dir())


def only(found: Sequence[Path], what: str, option: str) -> Path:
    """Return the only one of the paths found.

    Args:
        found: One or more.
        what: What they are.
        option: Names the right one.

    Raises:
        InputError: If there are several.
    """
    if len(found) > 1:
        raise InputError(f"several {what}: {listed(found)}. Name the right one with {option}")
    return found[0]


def refuse(problems: Sequence[Problem]) -> None:
    """Raise an error of all problems that are no warnings, if there are any.

    Raises:
        InputError: With the problems by kind.
    """
    errors = [problem for problem in problems if not problem.warning]
    if errors:
        lines = [line.removeprefix("error: ") for line in problem_lines(errors)]
        raise InputError("the data cannot be trained on:\n" + "\n".join(lines))
