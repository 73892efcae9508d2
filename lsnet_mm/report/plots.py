"""Curves as SVG that takes its colours from the page, so that they fit a dark and a light one."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from markupsafe import Markup

INK = "#000001"  # placeholders: matplotlib knows no CSS
SERIES = tuple(f"#0000{number}0" for number in range(1, 9))
SIZE = (5.2, 3.1)  # inches of 72 CSS pixels: about a phone's width
LOG_RATIO = 50  # of the largest to the smallest value, from which an axis is logarithmic
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "text.parse_math": False,  # a name may have dollar signs
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


class Line(NamedTuple):
    """A curve of a plot.

    Attributes:
        label: Its name in the legend.
        points: Values by place on the x axis.
        colour: Which of the page's colours, from 0.
        style: ``"line"``, ``"faint"``, ``"dots"`` (a line with its points) or ``"published"``.
    """

    label: str
    points: Mapping[float, float]
    colour: int
    style: str = "line"


DRAWN = {
    "line": dict(linewidth=1.2),
    "faint": dict(linewidth=0.8, alpha=0.45),
    "dots": dict(linewidth=1.6, marker="o", markersize=4),
    "published": dict(linewidth=1.4, marker="s", markersize=3.5, linestyle="--", alpha=0.8),
}


def plot(title: str, unit: str, lines: Sequence[Line], log: bool | None = None) -> Markup:
    """Draw curves over epochs or iterations.

    Args:
        title: What the plot shows, for its heading and for screen readers.
        unit: Of the x axis.
        lines: One or more, each with a point or more.
        log: Whether the y axis is logarithmic; None decides by the values.

    Returns:
        An SVG element.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for line in lines:
            places, values = list(line.points), list(line.points.values())
            colour = SERIES[line.colour % len(SERIES)]
            axes.plot(places, values, color=colour, label=line.label, **DRAWN[line.style])
        if log or (log is None and _spread(lines) > LOG_RATIO):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
        figure.legend(loc="outside upper left", ncols=2 if len(lines) < 5 else 3, fontsize=9)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _page_colours(text.getvalue(), title)


def _spread(lines: Sequence[Line]) -> float:
    values = [value for line in lines for value in line.points.values()]
    return max(values) / min(values) if min(values) > 0 else 0


def _page_colours(svg: str, title: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor")
    for number, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{number})")
    opening = Markup('<svg role="img" aria-label="{}"').format(title)
    return opening + Markup(svg.removeprefix("<svg"))
