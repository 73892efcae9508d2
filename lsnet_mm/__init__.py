"""LSNet (CVPR 2025, "See Large, Focus Small") for MMEngine.

Importing this package makes mmcv usable without its compiled ops and any mmengine read checkpoints,
and registers the networks, data sets, metrics and hooks: ``custom_imports =
dict(imports=['lsnet_mm'])`` in a config is all it takes to use them.
"""

from .compat import install_mmcv_ext

install_mmcv_ext()

from mmengine.registry import DATASETS  # noqa: E402

from . import engine, evaluation, models  # noqa: E402  after the call, as they may import mmcv.ops
from .loading import allow_checkpoints  # noqa: E402
from .registry import register_on_demand  # noqa: E402
from .swap import base, changes, find_renamed_packages, use_in  # noqa: E402
from .version import __version__  # noqa: E402

allow_checkpoints()
find_renamed_packages()

__all__ = ["__version__", "base", "changes", "engine", "evaluation", "models", "use_in"]

for _name in ("ImageNetC", "ImageNetVariant"):  # of mmpretrain's, which may not be installed
    register_on_demand(DATASETS, _name, f"{__name__}.datasets.imagenet_variants")
