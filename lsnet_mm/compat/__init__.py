"""What makes up for builds and names that are not found. Importing this package costs nothing."""

from .config_paths import find_renamed_packages
from .mmcv_ext import install_mmcv_ext

__all__ = ["find_renamed_packages", "install_mmcv_ext"]
