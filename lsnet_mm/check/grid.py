"""A grid of thumbnails, annotated, to look at a data set."""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lsnet_mm.check.files import as_rgb

Colour = tuple[int, int, int]

COLUMNS = 5
GRID = 20  # thumbnails
CELL = (240, 180)  # width and height a thumbnail fits in, in pixels
MARGIN = 6
LINE = 18  # height of a line of text
MASK_OPACITY = 0.5
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


class Thumbnail(NamedTuple):
    """A small picture of an image with its annotations.

    Attributes:
        image: RGB, no larger than ``CELL``.
        caption: A line of text to stand below.
        labels: Classes to show in the grid's legend.
    """

    image: Image.Image
    caption: str
    labels: frozenset[int] = frozenset()


def pick(count: int, wanted: int) -> np.ndarray:
    """Return up to ``wanted`` indices, evenly spread over 0 to ``count - 1``, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def shrink(image: Image.Image, size: tuple[int, int] = CELL) -> Image.Image:
    """Return an image in RGB, turned upright, and scaled to fit a width and height."""
    return ImageOps.contain(as_rgb(ImageOps.exif_transpose(image)), size)


def paint(image: Image.Image, mask: np.ndarray, colour: Colour) -> None:
    """Blend a colour into a thumbnail where a mask, bool (H, W) of any size, is set."""
    opacity = Image.fromarray(mask.astype(np.uint8) * round(255 * MASK_OPACITY))
    image.paste(colour, mask=opacity.resize(image.size))


def frame(
    image: Image.Image,
    box: tuple[float, float, float, float],
    name: str,
    colour: Colour,
    text: int = 10,
) -> None:
    """Draw a box (left, top, right, bottom, in pixels) with its name, ``text`` pixels high."""
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    font = ImageFont.load_default(text)
    corner = (max(left, 0) + 2, max(top, 0) + 1)
    draw.rectangle(draw.textbbox(corner, name, font), fill=colour)
    draw.text(corner, name, fill=_readable_on(colour), font=font)


def colours(palette: object, count: int) -> list[Colour]:
    """Return a colour for each of ``count`` classes: the palette's if it has enough of them."""
    if isinstance(palette, list | tuple) and len(palette) >= count:
        return [tuple(colour) for colour in palette[:count]]
    hues = (i * 0.618034 % 1 for i in range(count))  # the golden ratio keeps neighbours apart
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 0.9)) for hue in hues]


def draw_grid(
    thumbnails: Sequence[Thumbnail], classes: Sequence[str], palette: Sequence[Colour]
) -> Image.Image:
    """Return the thumbnails side by side, with a legend of the classes they show.

    Args:
        thumbnails: One or more.
        classes: Class names.
        palette: One colour per class.
    """
    labels = sorted(set().union(*(thumbnail.labels for thumbnail in thumbnails)))
    rows = math.ceil(len(thumbnails) / COLUMNS)
    step = (CELL[0] + MARGIN, CELL[1] + LINE + MARGIN)
    size = (
        MARGIN + COLUMNS * step[0],
        2 * MARGIN + rows * step[1] + math.ceil(len(labels) / COLUMNS) * LINE,
    )
    grid = Image.new("RGB", size, BACKGROUND)
    for i, (image, caption, _) in enumerate(thumbnails):
        x, y = MARGIN + i % COLUMNS * step[0], MARGIN + i // COLUMNS * step[1]
        grid.paste(image, (x + (CELL[0] - image.width) // 2, y + (CELL[1] - image.height) // 2))
        _write(grid, (x, y + CELL[1]), caption)
    for i, label in enumerate(labels):
        x, y = MARGIN + i % COLUMNS * step[0], MARGIN + rows * step[1] + i // COLUMNS * LINE
        ImageDraw.Draw(grid).rectangle((x, y + 3, x + 20, y + LINE - 3), fill=palette[label])
        _write(grid, (x + 26, y), classes[label])
    return grid


def _write(image: Image.Image, corner: tuple[int, int], text: str) -> None:
    """Write a line of text, cut to a cell's width."""
    font = ImageFont.load_default(12)
    while len(text) > 1 and font.getlength(text) > CELL[0] - 26:
        text = text[:-2] + "…"
    ImageDraw.Draw(image).text(corner, text, fill=INK, font=font)


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else (255, 255, 255)
