"""The report on a data set's problems."""

from collections.abc import Iterator, Sequence

from lsnet_mm.check.files import Problem

LINES = 20  # shown of each kind unless said otherwise; the file has all


def problem_lines(problems: Sequence[Problem], shown: int = LINES) -> list[str]:
    """Return the problems by kind, errors first, the first ``shown`` of each."""
    return [
        line
        for warning in (False, True)
        for line in _kinds([problem for problem in problems if problem.warning is warning], shown)
    ]


def _kinds(problems: Sequence[Problem], shown: int) -> Iterator[str]:
    """Yield the lines of errors, or those of warnings."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    for kind, found in kinds.items():
        yield f"{'warning' if found[0].warning else 'error'}: {kind} ({len(found)})"
        yield from (_printable(f"  {path}: {what}") for _, path, what, _ in found[:shown])
        if len(found) > shown:
            yield f"  and {len(found) - shown} more"


def full_list(problems: Sequence[Problem]) -> str:
    """Return all problems, a line each: severity, kind, path and the problem."""
    return "".join(
        _printable(f"{'warning' if warning else 'error'}: {kind}: {path}: {what}") + "\n"
        for kind, path, what, warning in problems
    )


def _printable(line: str) -> str:
    """Return a line with what UTF-8 does not have, such as bytes of a file's name, escaped."""
    return line.encode("utf-8", "backslashreplace").decode()
