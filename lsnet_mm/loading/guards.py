"""Whether files are trusted, and functions of other packages that are replaced while they are not.

A replacement stays in place for good and passes calls on unless the code that calls, in its own
thread, is within :func:`trusting`: several threads can load at once, each with its own trust.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

_trust: ContextVar[bool | None] = ContextVar("trust", default=None)


@contextmanager
def trusting(trust: bool | None) -> Iterator[None]:
    """Load files as data within the ``with`` block, or as they are if they are trusted.

    Args:
        trust: Whether they are; None for what a block around this one says, or else no.
    """
    token = _trust.set(bool(_trust.get()) if trust is None else trust)
    try:
        yield
    finally:
        _trust.reset(token)


def trusted() -> bool | None:
    """Return whether files are trusted; None outside :func:`trusting`."""
    return _trust.get()


def replace(
    owner: Any,
    name: str,
    replacement: Callable[..., Any],
    wanted: Callable[[], bool] = lambda: trusted() is False,
) -> None:
    """Have ``replacement`` called with a function and its arguments, in the function's place.

    Does nothing if that is so already; does it again if the function has been replaced since.

    Args:
        owner: Module or class of the function.
        name: Of the function.
        replacement: Called with the function itself first.
        wanted: Asked at every call; where it says no, the function is called as ever.
    """
    function = getattr(owner, name)
    if getattr(function, "replacement", None) is replacement:
        return

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return replacement(function, *args, **kwargs) if wanted() else function(*args, **kwargs)

    call.replacement = replacement
    static = isinstance(vars(owner)[name], staticmethod)
    setattr(owner, name, staticmethod(call) if static else call)
