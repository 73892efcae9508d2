"""From a trained network to one for inference."""

from .fold import fold

__all__ = ["fold"]
