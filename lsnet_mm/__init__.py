"""LSNet (CVPR 2025, "See Large, Focus Small") for MMEngine.

Importing this package makes mmcv usable without its compiled ops and registers the networks:
``custom_imports = dict(imports=['lsnet_mm'])`` in a config is all that is needed to use them.
"""

from .compat import install_mmcv_ext

install_mmcv_ext()

from . import models  # noqa: E402  after the line above, as it may import mmcv's ops
from .version import __version__  # noqa: E402

__all__ = ["__version__", "models"]
