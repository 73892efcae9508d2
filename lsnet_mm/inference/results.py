"""What a network found in an image: to use, to draw and to write, whatever ran the network."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from pycocotools import mask as coco_mask

from lsnet_mm.check.grid import Colour, colours, frame, paint
from lsnet_mm.datasets.coco_writer import coco_categories

SCORE = 0.3  # from which detections are drawn
TOP = 5  # classes of a classifier that are drawn and written
LEGEND = 12  # classes of a label map that are named in its picture, the largest


@dataclass
class Result(ABC):
    """Common to all tasks.

    Attributes:
        image: As it was read, BGR, uint8 (H, W, 3).
        classes: Names of the network's classes; empty if not known.
        palette: Their colours, RGB; empty if not known.
    """

    image: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Colour]

    def name(self, label: int) -> str:
        """Return a class's name, or its number if names are not known."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def draw(self, path: str | Path | None = None, score_thr: float = SCORE) -> Image.Image:
        """Return the image with the result drawn on it.

        Args:
            path: File to write it to, in the format of its suffix.
            score_thr: Score from which detections are drawn.
        """
        picture = self._draw(Image.fromarray(self.image[..., ::-1]), score_thr)
        if path is not None:
            picture.save(path)
        return picture

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """Return the result as what can be written as JSON, the image's name aside."""

    @abstractmethod
    def _draw(self, picture: Image.Image, score_thr: float) -> Image.Image: ...

    def _colours(self, labels: np.ndarray) -> list[Colour]:
        return colours(self.palette, max(len(self.classes), int(labels.max(initial=0)) + 1))


@dataclass
class Detections(Result):
    """Objects, the best first.

    Attributes:
        boxes: Left, top, right, bottom in pixels of the image, float32 (D, 4).
        scores: 0 to 1, float32 (D,).
        labels: Classes, int64 (D,).
        masks: bool (D, H, W); None of a detector of boxes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    def records(self) -> list[dict[str, Any]]:
        """Return COCO's entries: ``category_id``, ``bbox``, ``score``, maybe ``segmentation``.

        Boxes are (left, top, width, height), masks compressed RLE. COCO's 80 classes have COCO's
        ids, others are numbered from 1.
        """
        ids = category_ids(tuple(self.classes))
        records = []
        for i, (x1, y1, x2, y2) in enumerate(self.boxes.tolist()):
            label = int(self.labels[i])
            record = dict(
                category_id=ids[label] if label < len(ids) else label + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=float(self.scores[i]),
            )
            if self.masks is not None:
                code = coco_mask.encode(np.asfortranarray(self.masks[i], np.uint8))
                record["segmentation"] = dict(size=code["size"], counts=code["counts"].decode())
            records.append(record)
        return records

    def _draw(self, picture: Image.Image, score_thr: float) -> Image.Image:
        palette = self._colours(self.labels)
        shown = np.flatnonzero(self.scores >= score_thr)[::-1]  # the best on top
        if self.masks is not None:
            for i in shown:
                paint(picture, self.masks[i], palette[self.labels[i]])
        for i in shown:
            label = self.labels[i]
            text = f"{self.name(label)} {self.scores[i]:.2f}"
            frame(picture, tuple(self.boxes[i].tolist()), text, palette[label], _height(picture))
        return picture


@dataclass
class LabelMap(Result):
    """A class for each pixel.

    Attributes:
        labels: int64 (H, W).
    """

    labels: np.ndarray

    def records(self) -> list[dict[str, Any]]:
        """Return one entry: the classes that it shows, and the pixels of each, most first."""
        shown = [
            dict(label=label, name=self.name(label), pixels=pixels)
            for label, pixels in self._shown()
        ]
        return [dict(classes=shown)]

    def save(self, path: str | Path) -> None:
        """Write the label map as PNG: a pixel's value is its class, the palette the classes'."""
        if self.labels.max() > 255:
            Image.fromarray(self.labels.astype(np.uint16)).save(path)
            return
        picture = Image.fromarray(self.labels.astype(np.uint8), "L")
        picture.putpalette(np.uint8(self._colours(self.labels)[:256]).flatten().tolist())
        picture.save(path)

    def _shown(self) -> list[tuple[int, int]]:
        labels, pixels = np.unique(self.labels, return_counts=True)
        order = np.argsort(-pixels, kind="stable")
        return list(zip(labels[order].tolist(), pixels[order].tolist(), strict=True))

    def _draw(self, picture: Image.Image, score_thr: float) -> Image.Image:
        palette, shown = self._colours(self.labels), self._shown()
        # In grey, so that all colour is that of classes.
        picture = ImageOps.grayscale(picture).convert("RGB")
        for label, _ in shown:
            paint(picture, self.labels == label, palette[label])
        _write(picture, [(self.name(label), palette[label]) for label, _ in shown[:LEGEND]])
        return picture


@dataclass
class Classes(Result):
    """Probabilities of an image's class.

    Attributes:
        scores: float32 (classes,), with a sum of 1.
    """

    scores: np.ndarray

    def top(self, count: int = TOP) -> list[tuple[str, float]]:
        """Return the ``count`` most probable classes' names and scores."""
        return [(self.name(i), float(self.scores[i])) for i in self._best(count)]

    def records(self) -> list[dict[str, Any]]:
        """Return an entry for each of the 5 best: ``rank`` from 1, ``label``, ``class``, score."""
        return [
            {
                "rank": rank,
                "label": label,
                "class": self.name(label),
                "score": float(self.scores[label]),
            }
            for rank, label in enumerate(self._best(TOP), start=1)
        ]

    def _best(self, count: int) -> list[int]:
        return np.argsort(-self.scores, kind="stable")[:count].tolist()

    def _draw(self, picture: Image.Image, score_thr: float) -> Image.Image:
        _write(picture, [(f"{name} {score:.3f}", None) for name, score in self.top()])
        return picture


@lru_cache(maxsize=8)
def category_ids(classes: tuple[str, ...]) -> list[int]:
    """COCO's ids of COCO's 80 classes, in any order; other classes are numbered from 1."""
    known = {entry["name"]: entry["id"] for entry in coco_categories()}
    if set(classes) == set(known):
        return [known[name] for name in classes]
    return list(range(1, len(classes) + 1))


def _height(picture: Image.Image) -> int:
    """Of a line of text that suits the picture, in pixels."""
    return max(10, min(picture.size) // 30)


def _write(picture: Image.Image, lines: Sequence[tuple[str, Colour | None]]) -> None:
    """Write lines of text, white on black, from the top left, each beside a spot of its colour."""
    draw, height = ImageDraw.Draw(picture), _height(picture)
    font = ImageFont.load_default(height)
    for i, (text, colour) in enumerate(lines):
        corner = (2 * height if colour else 4, 2 + i * (height + 4))
        left, top, right, bottom = draw.textbbox(corner, text, font)
        draw.rectangle((0, top - 2, right + 2, bottom + 2), fill=(0, 0, 0))
        if colour:
            draw.rectangle((2, top, left - height // 2, bottom), fill=colour)
        draw.text(corner, text, fill=(255, 255, 255), font=font)
