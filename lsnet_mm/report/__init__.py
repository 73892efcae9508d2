"""One HTML page of a run: its curves against the published ones, its results, its worst cases."""

from .run import report

__all__ = ["report"]
