"""Training and testing with MMEngine's runner, for any of the three libraries' configs."""

from . import amp, hooks, memory, nonfinite, runner  # noqa: F401  they register themselves
from .run import test, train

__all__ = ["test", "train"]
