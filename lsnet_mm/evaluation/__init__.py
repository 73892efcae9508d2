"""Metrics that the mm packages lack, registered in MMEngine's root ``METRICS``."""

from .dump import DUMPS, DumpSegResults
from .robustness import MeanCorruptionError, SubsetAccuracy

__all__ = ["DUMPS", "DumpSegResults", "MeanCorruptionError", "SubsetAccuracy"]
