"""Stand-ins for what a current torch finds no build of. Importing this package costs nothing."""

from .mmcv_ext import install_mmcv_ext

__all__ = ["install_mmcv_ext"]
