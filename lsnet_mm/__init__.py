"""LSNet (CVPR 2025, "See Large, Focus Small") for MMEngine.

Importing this package makes mmcv usable without its compiled ops and registers the networks and
hooks: ``custom_imports = dict(imports=['lsnet_mm'])`` in a config is all it takes to use them.
"""

from .compat import install_mmcv_ext

install_mmcv_ext()

from . import engine, models  # noqa: E402  after the line above, as they may import mmcv.ops
from .version import __version__  # noqa: E402

__all__ = ["__version__", "engine", "models"]
