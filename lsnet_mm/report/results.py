"""Results of a model on a data set, in the terms that all tasks share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from lsnet_mm.check.grid import Colour

WORST = 12  # images shown
PICTURE = (480, 360)  # width and height that a picture fits in, in pixels


class Case(NamedTuple):
    """An image, to be looked at.

    Attributes:
        name: Its file.
        note: How the prediction differs from the truth.
        pictures: By caption, no larger than ``PICTURE``.
        legend: Colours in the pictures by class name.
    """

    name: str
    note: str
    pictures: dict[str, Image.Image]
    legend: dict[str, Colour]


@dataclass
class Results:
    """How a model does on a data set.

    Attributes:
        images: How many there are.
        numbers: Over all of them, in per cent, by name.
        classes: Their names.
        columns: Numbers by class, (classes,): float in per cent, NaN where undefined, or int
            counts. The first is what the model is judged by.
        confusion: Counts, int64 (n, n): rows are true, columns found.
        labels: Names of its rows and columns: the classes, and perhaps background.
        unit: What ``confusion`` counts.
        method: A sentence on how ``confusion`` and ``columns`` were counted.
        order: What the cases are ordered by.
        cases: A few images, the worst first.
    """

    images: int
    numbers: dict[str, float]
    classes: Sequence[str]
    columns: dict[str, np.ndarray]
    confusion: np.ndarray
    labels: Sequence[str]
    unit: str
    method: str
    order: str
    cases: list[Case]


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 * part / whole, NaN where there is nothing to divide by."""
    whole = np.asarray(whole, np.float64)
    return 100 * np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def count_pairs(true: np.ndarray, found: np.ndarray, size: int) -> np.ndarray:
    """Return how often each pair of labels, int (n,) from 0 to size - 1, occurs: (size, size)."""
    pairs = true.astype(np.int64) * size + found
    return np.bincount(pairs, minlength=size * size).reshape(size, size)
