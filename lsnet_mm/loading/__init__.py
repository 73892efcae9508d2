"""Files are data, not programs: checkpoints, pickles and the configs that they carry."""

from .checkpoints import check_checkpoint, guarded, guarded_loading, load_pickle
from .configs import carried_config
from .guards import trusted

__all__ = [
    "carried_config",
    "check_checkpoint",
    "guarded",
    "guarded_loading",
    "load_pickle",
    "trusted",
]
