"""``mmseg::`` in configs, where mmseg comes from a distribution of another name."""

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed


def find_renamed_packages() -> None:
    """Let ``_base_ = 'mmseg::...'`` find an mmseg that is not OpenMMLab's ``mmsegmentation``.

    mmengine looks for the distribution; OneDL's continuation is called otherwise. The module's own
    name finds it, as it does for mmdet and mmpretrain.
    """
    if not is_installed(MODULE2PACKAGE["mmseg"]):
        MODULE2PACKAGE["mmseg"] = "mmseg"
