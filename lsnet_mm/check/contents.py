"""What the checks of a task know about a data set, in the terms that all tasks share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lsnet_mm.check.files import FileRecord, Inspection, Problem
from lsnet_mm.check.grid import Colour, Thumbnail


class Contents(ABC):
    """What a data set holds, as its annotations and folders tell without opening an image.

    Attributes:
        classes: Class names.
        palette: A colour for each class.
        paths: Image files, in the order of the data set.
        items: What ``inspect`` takes, for each image.
        inspect: Inspects an image and what belongs to it, in a worker process.
        problems: What is wrong with the annotations.
        shown: Images for a grid of thumbnails, indices into ``paths``.
        folders: Class folders in the order of their labels; none for other kinds of data.
    """

    classes: Sequence[str]
    palette: Sequence[Colour]
    paths: Sequence[str]
    items: Sequence[Any]
    inspect: Callable[[Any], FileRecord]
    problems: list[Problem]
    shown: Sequence[int]
    folders: Sequence[str] = ()

    @abstractmethod
    def statistics(self, found: Inspection) -> list[str]:
        """Return lines on what is annotated, and how often."""

    @abstractmethod
    def thumbnail(self, index: int) -> Thumbnail:
        """Return an image with its annotations; raises UnusableFileError where it is damaged."""
