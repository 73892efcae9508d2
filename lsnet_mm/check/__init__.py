"""Checks of a config's data before a long run, with statistics and pictures."""

from .run import check

__all__ = ["check"]
