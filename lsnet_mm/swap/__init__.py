"""LSNet in the place of the backbone of a config of mmdet, mmseg or mmpretrain."""

from .run import base, changes, use_in

__all__ = ["base", "changes", "use_in"]
