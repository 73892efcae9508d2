"""LSNet in the place of the backbone of a config of mmdet, mmseg or mmpretrain."""

from .packages import find_renamed_packages
from .run import base, changes, use_in

__all__ = ["base", "changes", "find_renamed_packages", "use_in"]
