"""Results as a table, a CSV file and a plot."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .subjects import TOP1

Rows = Sequence[Mapping[str, Any]]


def table(rows: Rows) -> str:
    """Rows of equal keys as lines of text under a heading; numbers with three digits."""
    cells = [list(rows[0]), *([_cell(v) for v in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(v, str) for v in rows[0].values()]
    return "\n".join(
        "  ".join(
            c.ljust(w) if is_text else c.rjust(w)
            for c, w, is_text in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(rows: Rows, path: Path) -> None:
    """Write rows of equal keys."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: Rows, title: str, path: Path) -> bool:
    """Plot images per second against published top-1, for networks that have one.

    Returns:
        Whether there was any; no file is written otherwise.
    """
    known = [row for row in rows if row["network"] in TOP1]
    if not known:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for mode in dict.fromkeys(row["mode"] for row in known):
        points = [row for row in known if row["mode"] == mode]
        speed = [row["images_per_s"] for row in points]
        axes.scatter(speed, [TOP1[row["network"]] for row in points], label=mode)
        for row, x in zip(points, speed, strict=True):
            at = (x, TOP1[row["network"]])
            axes.annotate(row["network"], at, (4, 4), textcoords="offset points", fontsize=8)
    axes.set(
        xlabel="images per second", ylabel="published ImageNet top-1, %", xscale="log", title=title
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
