"""Files are data, not programs: checkpoints, pickles and the configs that they carry."""

from .checkpoints import (
    allow_checkpoints,
    check_checkpoint,
    guarded,
    guarded_loading,
    load_pickle,
)
from .configs import carried_config
from .guards import trusted

__all__ = [
    "allow_checkpoints",
    "carried_config",
    "check_checkpoint",
    "guarded",
    "guarded_loading",
    "load_pickle",
    "trusted",
]
