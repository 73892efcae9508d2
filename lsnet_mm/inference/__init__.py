"""Predictions for images: by a config and its checkpoint, or by an exported file alike."""

from .predictor import Predictor
from .results import Classes, Detections, LabelMap

__all__ = ["Classes", "Detections", "LabelMap", "Predictor"]
