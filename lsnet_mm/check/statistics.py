"""Statistics of a data set, as lines of text."""

from collections.abc import Mapping, Sequence

import numpy as np

SMALL, LARGE = 32**2, 96**2  # areas in pixels that part COCO's small, medium and large objects
ALL_CLASSES = 24  # more classes than these are cut to the most and least frequent
SHOWN_CLASSES = 10  # of either
NAME_WIDTH = 32


def image_lines(sizes: np.ndarray, total: int) -> list[str]:
    """Return lines on the number of images and their sizes.

    Args:
        sizes: Width and height in pixels, int (files, 2); 0 where an image cannot be read.
        total: Images the data set has, inspected or not.
    """
    part = "" if len(sizes) == total else f", {len(sizes)} of them looked at"
    widths, heights = sizes[(sizes > 0).all(1)].T
    if not len(widths):
        return [f"{total} images{part}"]
    return [
        f"{total} images{part}: width {_range(widths)}, height {_range(heights)}, "
        f"aspect ratio {_range(widths / heights)}"
    ]


def _range(values: np.ndarray) -> str:
    if values.min() == values.max():
        return f"{values[0]:.4g}"
    return f"{values.min():.4g} to {values.max():.4g} (median {np.median(values):.4g})"


def object_sizes(areas: np.ndarray) -> str:
    """Return a line on the sizes of objects, as COCO counts them, from their areas in pixels."""
    counts = np.bincount(np.digitize(areas, (SMALL, LARGE)), minlength=3)
    names = ("small (under 32x32)", "medium", "large (from 96x96)")
    return "object sizes: " + ", ".join(
        f"{name} {share(count, len(areas))}" for name, count in zip(names, counts, strict=True)
    )


def share(part: int, total: int) -> str:
    """Return how much ``part`` is of ``total``, in per cent."""
    return f"{100 * part / max(total, 1):.1f} %"


def class_table(classes: Sequence[str], columns: Mapping[str, np.ndarray]) -> list[str]:
    """Return a table of numbers by class, the most frequent first.

    Args:
        classes: Class names.
        columns: Heading and values, (classes,), of each column; the first one's give the order,
            and classes that have 0 there are only named.
    """
    values = next(iter(columns.values()))
    order = [i for i in np.argsort(-values, kind="stable") if values[i] > 0]
    rows = [_row(classes[i], [_cell(column[i]) for column in columns.values()]) for i in order]
    if len(rows) > ALL_CLASSES:
        left_out = f"... {len(rows) - 2 * SHOWN_CLASSES} classes between"
        rows = [*rows[:SHOWN_CLASSES], left_out, *rows[-SHOWN_CLASSES:]]
    empty = [classes[i].partition(",")[0] for i in np.flatnonzero(values == 0)]
    return [
        _row("class", list(columns)),
        *rows,
        *([f"classes without any: {len(empty)} ({listed(empty)})"] if empty else ()),
    ]


def listed(names: Sequence[object], most: int = 5) -> str:
    """Return names in one line, a few of them if there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def _row(name: str, cells: Sequence[str]) -> str:
    name = name if len(name) <= NAME_WIDTH else name[: NAME_WIDTH - 1] + "…"
    return f"{name:{NAME_WIDTH}}" + "".join(f"{cell:>14}" for cell in cells)


def _cell(value: np.number) -> str:
    return f"{value:.2f}" if isinstance(value, np.floating) else f"{value}"
