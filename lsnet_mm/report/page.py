"""The page itself: tables, pictures and curves put into the template."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lsnet_mm.version import __version__

from .curves import MAIN_METRICS, METRICS, Curve, History
from .plots import Line, plot
from .published import SOURCE, Published
from .results import Results

if TYPE_CHECKING:
    from .run import Report

ROWS = 25  # of a table that are shown at once
CONFUSIONS = 20  # that are listed
CELLS = 24  # rows of a confusion matrix that is a table of numbers
DOTS = 200  # and of one that is a picture
LINES = 8  # curves in a plot
JPEG_QUALITY = 80
ACCENT = (29, 111, 220)  # of the picture of a confusion matrix


class Row(NamedTuple):
    """A class in the table: its name, its numbers as text, and the first as a share, 0 to 1."""

    name: str
    cells: list[str]
    share: float


def render(report: "Report") -> str:
    """Return the page of a report."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["jpeg"] = jpeg
    results = report.results
    return environment.get_template("page.html.j2").render(
        report=report,
        results=results,
        facts=list(_facts(report)),
        plots=list(_plots(report.history, report.published)),
        rows=class_rows(results) if results else [],
        shown_rows=ROWS,
        confusions=top_confusions(results) if results else [],
        matrix=_matrix(results) if results and len(results.labels) <= CELLS else None,
        picture=_dots(results) if results and CELLS < len(results.labels) <= DOTS else None,
        source=SOURCE,
        version=__version__,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
    )


def _facts(report: "Report") -> Iterator[tuple[str, str, str]]:
    """Yield the most important numbers: name, value, and what to add."""
    history, train_cfg = report.history, report.cfg.get("train_cfg") or {}
    if history.runs:
        unit = "epoch" if history.by_epoch else "iteration"
        done = max(history.epochs.values()) if history.by_epoch else history.last_iteration
        planned = train_cfg.get("max_epochs" if history.by_epoch else "max_iters")
        yield unit, str(done), f"of {planned}" if planned else ""
        losses = history.train.get("loss", {})
        if losses:
            yield "training loss", f"{list(losses.values())[-1]:.3f}", "the last logged"
        for name in MAIN_METRICS:
            curve = history.metrics.get(name)
            if curve:
                best = max(curve, key=curve.get)
                yield (
                    f"{name}, validation",
                    f"{list(curve.values())[-1]:.1f}",
                    (f"best {curve[best]:.1f} at {unit} {best}"),
                )
    if report.tests:
        folder, results = list(report.tests.items())[-1]
        for name in MAIN_METRICS:
            if name in results:
                yield f"{name}, test", f"{results[name]:.1f}", folder
    if report.results:
        for name, value in report.results.numbers.items():
            if name in MAIN_METRICS:
                yield (
                    f"{name}, these predictions",
                    f"{value:.1f}",
                    (f"{report.results.images} images"),
                )


# Curves.


def _plots(history: History, published: Published | None) -> Iterator[tuple[str, Markup]]:
    """Yield the title and the picture of every plot."""
    unit = "epoch" if history.by_epoch else "iteration"
    known = [name for name, _ in METRICS.values() if name in history.metrics]
    groups = {
        "Validation": [name for name in known if name in MAIN_METRICS],
        "Validation, other metrics in per cent": [n for n in known if n not in MAIN_METRICS],
        "Validation, metrics as logged": [n for n in history.metrics if n not in known],
    }
    for title, names in groups.items():
        lines = [
            Line(name, history.metrics[name], number, "dots")
            for number, name in enumerate(names[:LINES])
        ]
        if published and title == "Validation":
            lines += _published_lines(names, published)
        if lines:
            yield title, plot(title, unit, lines)
    if "loss" in history.train:
        lines = list(_loss_lines(history, published))
        yield "Training loss", plot("Training loss", unit, lines)
    parts = [name for name in history.train if "loss" in name and name != "loss"]
    if len(parts) > 1:
        yield "Parts of the loss", _train_plot("Parts of the loss", unit, history, parts)
    for name, title, log in (
        ("lr", "Learning rate", False),
        ("grad_norm", "Norm of the gradient", None),
    ):
        if name in history.train:
            yield title, _train_plot(title, unit, history, [name], log)


def _train_plot(
    title: str, unit: str, history: History, names: Sequence[str], log: bool | None = None
) -> Markup:
    lines = [
        Line(name, _by_place(history.train[name], history), number)
        for number, name in enumerate(names[:LINES])
    ]
    return plot(title, unit, lines, log)


def _published_lines(names: Sequence[str], published: Published) -> Iterator[Line]:
    for name, curve in published.metrics.items():
        number = names.index(name) if name in names else len(names)
        yield Line(f"{name}, published", curve, number, "published")


def _loss_lines(history: History, published: Published | None) -> Iterator[Line]:
    means = _amid_epochs(history.epoch_losses())
    logged = _by_place(history.train["loss"], history)
    yield Line("as logged", logged, 0, "faint" if means else "line")
    if means:
        yield Line("mean of each epoch", means, 0, "dots")
    if published:
        theirs = _by_place(published.losses, history) | _amid_epochs(published.epoch_losses)
        yield Line("published", theirs, 1, "published")


def _by_place(curve: Curve, history: History) -> dict[float, float]:
    """A curve over iterations, over epochs where there are any."""
    length = history.epoch_length or 1
    return {iteration / length: value for iteration, value in curve.items()}


def _amid_epochs(means: Mapping[int, float]) -> dict[float, float]:
    """Means of epochs, each in the middle of its epoch: they end with whole numbers."""
    return {epoch - 0.5: value for epoch, value in means.items()}


# Results.


def class_rows(results: Results) -> list[Row]:
    """Return the table's rows, the worst class first and those that were not measured last."""
    first = next(iter(results.columns.values()))
    return [
        Row(
            results.classes[i],
            [_cell(column[i]) for column in results.columns.values()],
            float(np.nan_to_num(first[i]) / 100),
        )
        for i in np.argsort(first, kind="stable")
    ]


def _cell(value: np.number) -> str:
    if isinstance(value, np.integer):
        return str(value)
    return "–" if np.isnan(value) else f"{value:.1f}"


def top_confusions(results: Results) -> list[dict[str, Any]]:
    """Return the most frequent confusions of two classes: their names, count, share of the true.

    Background is no class: what is missed or false is in the table of classes.
    """
    size = len(results.classes)
    counts = results.confusion[:size, :size].copy()
    np.fill_diagonal(counts, 0)
    totals = results.confusion.sum(1)
    found = []
    for flat in np.argsort(-counts, axis=None, kind="stable")[:CONFUSIONS]:
        true, answer = divmod(int(flat), size)
        count = int(counts[true, answer])
        if count:
            names = dict(true=results.classes[true], found=results.classes[answer])
            found.append(dict(**names, count=count, share=100 * count / totals[true]))
    return found


def _shares(results: Results) -> np.ndarray:
    """The confusion matrix as shares of its rows, 0 to 1."""
    return results.confusion / np.maximum(results.confusion.sum(1, keepdims=True), 1)


def _matrix(results: Results) -> list[tuple[str, list[tuple[str, float]]]]:
    """Rows of the confusion matrix: a class's name, and text and share of each cell."""
    shares = _shares(results)
    # Pixels are too many to be counted in a cell.
    numbers = (100 * shares).round().astype(int) if results.unit == "pixels" else results.confusion
    return [
        (name, [(str(n), round(float(share), 3)) for n, share in zip(cells, row, strict=True)])
        for name, cells, row in zip(results.labels, numbers, shares, strict=True)
    ]


def _dots(results: Results) -> str:
    """The confusion matrix as a picture of a pixel per cell, PNG as a data URI."""
    # The square root lets small shares be seen.
    opacity = np.round(255 * np.sqrt(_shares(results))).astype(np.uint8)
    colour = np.broadcast_to(np.array(ACCENT, np.uint8), (*opacity.shape, 3))
    image = Image.fromarray(np.dstack([colour, opacity]))
    return _data_uri(image, "PNG")


def jpeg(image: Image.Image) -> str:
    """Return an image as a data URI."""
    return _data_uri(image, "JPEG", quality=JPEG_QUALITY)


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    data = BytesIO()
    image.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
