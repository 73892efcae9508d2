"""LSNet in the place of the backbone of a config of mmdet, mmseg or mmpretrain."""

from .run import base, use_in

__all__ = ["base", "use_in"]
