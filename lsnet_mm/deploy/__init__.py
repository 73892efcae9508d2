"""From a trained network to one for inference, here or in another runtime."""

from .export import export_onnx, export_openvino, export_torch
from .fold import fold
from .runtime import load

__all__ = ["export_onnx", "export_openvino", "export_torch", "fold", "load"]
