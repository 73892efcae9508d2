"""What cases' processes share: the libraries, imported once."""

import mmdet.models  # noqa: F401
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401

import lsnet_mm  # noqa: F401

from . import run  # noqa: F401
