"""Metrics that mmpretrain lacks, registered in MMEngine's root ``METRICS``."""

from .robustness import MeanCorruptionError, SubsetAccuracy

__all__ = ["MeanCorruptionError", "SubsetAccuracy"]
