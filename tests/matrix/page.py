"""The page on what was tried: ``docs/compatibility.md``."""

import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import mmcv
import mmdet
import mmengine
import mmpretrain
import mmseg
import torch

import lsnet_mm

from .cases import LIBRARIES, WAYS, Case
from .run import Outcome

TEMPLATE = Path(__file__).with_name("page.md")
TESTED = (lsnet_mm, torch, mmengine, mmcv, mmdet, mmseg, mmpretrain)
LONG = 160  # characters of an error that are shown


def compose(results: Sequence[tuple[Case, Outcome]]) -> str:
    """Return the page's text."""
    text = TEMPLATE.read_text(encoding="utf-8")
    parts = dict(versions=_versions(results), tables=_tables(results), ways=_ways(results))
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def _versions(results: Sequence[tuple[Case, Outcome]]) -> str:
    packages = ", ".join(f"{package.__name__} {package.__version__}" for package in TESTED)
    passed = sum(outcome.predicted for _, outcome in results)
    return (
        f"{passed} of {len(results)} configs train and predict: {date.today()}, on a CPU, Python "
        f"{platform.python_version()}, {packages}."
    )


def _tables(results: Sequence[tuple[Case, Outcome]]) -> str:
    blocks = []
    for library in LIBRARIES:
        rows = [(case, outcome) for case, outcome in results if case.library == library]
        passed = sum(outcome.predicted for _, outcome in rows)
        head = ["network", "config", "gives", "in `model`", "`use_in`", "trains", "predicts", ""]
        lines = [_row(case, outcome) for case, outcome in rows]
        blocks.append(
            f"### {library}: {passed} of {len(rows)}\n\n" + "\n".join([*_table(head), *lines])
        )
    return "\n\n".join(blocks)


def _table(head: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]


def _row(case: Case, outcome: Outcome) -> str:
    automatic = outcome.use_in if outcome.use_in in ("same", "differs") else "by hand"
    cells = [
        case.family,
        f"`{case.config.partition('::')[2]}`",
        case.task,
        case.way,
        automatic,
        "yes" if outcome.trained else "no",
        "yes" if outcome.predicted else "no",
        "; ".join(filter(None, [case.remark, _reason(outcome)])),
    ]
    return f"| {' | '.join(cells)} |"


def _reason(outcome: Outcome) -> str:
    if outcome.predicted:
        return ""
    if not outcome.original:
        return _short(outcome.error)
    same = _short(outcome.original) == _short(outcome.error)
    end = "so does the library's own config" if same else "the library's own config: "
    return f"{_short(outcome.error)}; {end}{'' if same else _short(outcome.original)}"


def _short(error: str) -> str:
    first = error.splitlines()[0].replace("|", "\\|")
    return f"`{first[:LONG]}{'...' if len(first) > LONG else ''}`"


def _ways(results: Sequence[tuple[Case, Outcome]]) -> str:
    used = {case.way for case, _ in results}
    lines = [
        f"| {way} | `model = dict({text})` |" for way, text in WAYS.items() if way in used and text
    ]
    return "\n".join([*_table(["", ""]), *lines])
