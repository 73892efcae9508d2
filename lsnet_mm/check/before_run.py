"""The part of the checks that comes before every run: annotations, without opening an image."""

from collections.abc import Iterable
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from lsnet_mm.check.coco_file import LEFT_OUT
from lsnet_mm.check.contents import Contents
from lsnet_mm.check.report import problem_lines
from lsnet_mm.check.run import find_parts, folder_problems, read_contents
from lsnet_mm.errors import InputError

SHOWN = 5  # problems that are named


def check_annotations(cfg: Config, loaders: Iterable[str]) -> list[str]:
    """Check what annotation files, folders and lists say, as ``tools/check_dataset.py`` does.

    Args:
        cfg: Config with the loaders.
        loaders: Names of the data loaders; those that ``cfg`` does not set are passed over.

    Returns:
        Lines on what the run can do without, as mm leaves it out: warnings.

    Raises:
        InputError: If a file cannot be read, or labels would be wrong or lacking.
    """
    init_default_scope(cfg.get("default_scope", "mmengine"))
    head = (cfg.get("model") or {}).get("head") or {}
    found = {}
    for loader in loaders:
        found |= _contents({loader: cfg.get(loader)}, head.get("num_classes") or 0)
    problems = [problem for contents in found.values() for problem in contents.problems]
    problems += folder_problems(found)
    fatal = [problem for problem in problems if not (problem.warning or problem.kind in LEFT_OUT)]
    if fatal:
        lines = [f"{kind}: {path}: {what}" for kind, path, what, _ in fatal[:SHOWN]]
        more = f"\n  and {len(fatal) - SHOWN} more" if len(fatal) > SHOWN else ""
        raise InputError(
            "the data does not fit:\n  "
            + "\n  ".join(lines)
            + f"{more}\ntools/check_dataset.py lists all that is wrong with a data set"
        )
    left_out = [problem._replace(warning=True) for problem in problems]
    return problem_lines(left_out, SHOWN)


def _contents(loader: dict[str, Any], num_classes: int) -> dict[str, Contents]:
    """What the data sets of a loader hold, by name; nothing for kinds that are not known here."""
    try:
        return {part.name: read_contents(part, num_classes) for part in find_parts(loader)}
    except (InputError, AttributeError):  # where there is something wrong, building tells
        return {}
