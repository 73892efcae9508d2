"""Checkpoints and pickles as data.

Unpickling a file calls the functions that the file names. Within :func:`guarded_loading` only the
few named here are, whoever loads: mmengine, the mm libraries, timm and torch.hub all come by
``torch.load``. So it does not matter that mmengine falls back to full unpickling, or that its own
allow-list has ``getattr``, by which a file reaches every function.
"""

import argparse
import io
import os
import pickle
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import yaml
from mmengine.config import Config
from mmengine.fileio.handlers import PickleHandler, YamlHandler
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint

from lsnet_mm.errors import CheckpointError, UnsafeFileError

from .configs import config_of_text
from .guards import replace, trusted, trusting

# What torch says of what a file needs beyond the allow-list, in the words of its versions.
REFUSED = re.compile(r"GLOBAL (?P<name>\S+)|(?:but got|unrecognized function) (?P<what>.+)")
SCRIPT = "TorchScript, which is a program"
STATISTICS = ("current", "max", "mean", "min")  # HistoryBuffer's own
NUMBERS = "?bBhHiIlLqQefdSU"  # numpy's codes of plain types: no objects

_lock = threading.RLock()  # torch has one allow-list for all threads


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """The function under the name that files have it by."""

    def call(*args: Any) -> Any:
        return function(*args)

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


def _statistics(owner: Any, name: str) -> Callable[..., Any]:
    """Stand in for ``getattr``, by which a HistoryBuffer's file names its statistics."""
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError("GLOBAL builtins.getattr")
    return getattr(owner, name)


def _allow_list() -> list[Any]:
    """What mm's and the authors' checkpoints hold beside tensors and Python's plain types."""
    package = "numpy._core" if hasattr(np, "_core") else "numpy.core"  # of this numpy
    multiarray = import_module(f"{package}.multiarray")
    return [
        argparse.Namespace,
        HistoryBuffer,
        _named(_statistics, "builtins", "getattr"),
        import_module("_codecs").encode,  # of bytes, as numpy's numbers are; torch 2.4 lacks it,
        set,  # and this
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in NUMBERS},
        *(
            _named(getattr(multiarray, name), f"{package}.multiarray", name)
            for package in ("numpy.core", "numpy._core")  # of the numpy that wrote the file
            for name in ("_reconstruct", "scalar")
        ),
    ]


ALLOWED = _allow_list()


def allow_checkpoints() -> None:
    """Have torch take :data:`ALLOWED` in checkpoints where mmengine has no such list of its own.

    OpenMMLab's calls ``torch.load`` as it is. Since torch 2.6 that reads tensors and plain types
    alone: neither its own checkpoints nor the authors' could be loaded by mm's functions.
    """
    has_own = hasattr(mmengine_checkpoint, "get_torch_safe_globals")
    if torch.__version__ >= (2, 6) and not has_own:
        # timm takes the class off torch's list after each file that it reads; not so a name.
        namespace = argparse.Namespace, "argparse.Namespace"
        torch.serialization.add_safe_globals([*ALLOWED, namespace])


@contextmanager
def guarded_loading(trust: bool | None = None) -> Iterator[None]:
    """Load files as data within the ``with`` block, in this thread.

    Holds for checkpoints, for pickles and YAML that mmengine reads, and for configs that mmengine
    reads from checkpoints. What needs more raises :class:`~lsnet_mm.errors.UnsafeFileError`.

    Args:
        trust: Load all as it is, whatever it may run; None for what a block around this one says,
            or else no.
    """
    for owner in (torch, torch.serialization):
        replace(owner, "load", _load, lambda: trusted() is not None)
    replace(torch.jit, "load", _refuse_script)
    replace(PickleHandler, "load_from_fileobj", _load_pickle_of_mmengine)
    replace(YamlHandler, "load_from_fileobj", _load_yaml_of_mmengine)
    replace(Config, "fromstring", config_of_text)
    with trusting(trust):
        yield


def guarded(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Have a tool's function load files as data, unless ``args.trust_checkpoint`` says otherwise.

    Args:
        tool: Takes the parsed arguments.
    """

    @wraps(tool)
    def call(args: argparse.Namespace) -> Any:
        with guarded_loading(args.trust_checkpoint):
            return tool(args)

    return call


def check_checkpoint(path: Path) -> None:
    """Check that a file is a checkpoint that can be loaded as data; tensors are not read.

    Raises:
        CheckpointError: If it is not.
    """
    with guarded_loading(False):
        torch.load(path, map_location="meta")


def load_pickle(file: BinaryIO) -> Any:
    """Unpickle plain data: Python's own types, tensors, numpy's arrays and numbers.

    Raises:
        UnsafeFileError: If it needs more, and files are not trusted.
        Exception: Any, if the file is damaged.
    """
    with guarded_loading():
        return pickle.load(file) if trusted() else DataUnpickler(file).load()


class DataUnpickler(pickle._Unpickler):
    """Builds plain data and refuses all else.

    In Python, some seconds slower for a large file: the one in C reserves memory for as many
    references as a damaged file may announce.
    """

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        self._name = _file_name(file)

    def find_class(self, module: str, name: str) -> Any:
        """Return what a file names, if it is in the allow-list."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._load_storage
        try:
            return PICKLED[f"{module}.{name}"]
        except KeyError:
            raise UnsafeFileError(self._name, f"{module}.{name}") from None

    def _load_storage(self, data: bytes) -> Any:
        """A tensor's numbers, which a pickle holds as a file of torch within."""
        return torch.load(Part(data, self._name), map_location="cpu")


class Part(io.BytesIO):
    """A file within another; ``name`` is the other's, for errors."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


PICKLED = {
    "builtins.bytearray": bytearray,
    "builtins.complex": complex,
    "builtins.frozenset": frozenset,
    "builtins.slice": slice,
    "collections.OrderedDict": OrderedDict,
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    **{f"{entry.__module__}.{entry.__qualname__}": entry for entry in ALLOWED},
}


def _load(load: Callable[..., Any], f: Any, *args: Any, **options: Any) -> Any:
    """In place of ``torch.load``: reads with ``weights_only`` and our allow-list alone."""
    name = _file_name(f)
    if trusted():
        with _explained(name):
            return load(f, *args, **{**options, "weights_only": False})
    if _is_tar(f):  # of torch's first versions; their reader is not bound by an allow-list
        raise UnsafeFileError(name, "torch's reader of tar archives")
    with _explained(name), _only(ALLOWED):
        return load(f, *args, **{**options, "weights_only": True})


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Tell what is unsafe from what is damaged, both by the file's name."""
    try:
        yield
    except (CheckpointError, FileNotFoundError):
        raise
    except Exception as error:  # torch's readers raise anything on damaged data
        text = str(error)
        if "TorchScript" in text:
            raise UnsafeFileError(name, SCRIPT) from None
        if found := REFUSED.search(text):
            raise UnsafeFileError(name, found["what"] or _whole_name(found["name"])) from None
        reason = text.split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
        raise CheckpointError(
            f"{name} cannot be read as a torch checkpoint: {reason or type(error).__name__}"
        ) from error


def _whole_name(name: str) -> str:
    return name if "." in name else f"builtins.{name}"  # torch leaves that out


@contextmanager
def _only(allowed: list[Any]) -> Iterator[None]:
    """Make ``allowed`` all that torch's weights-only reader takes beside tensors."""
    with _lock:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _is_tar(f: Any) -> bool:
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return _is_tar(file)
    start = f.tell()
    try:
        with tarfile.open(fileobj=f, mode="r:"):
            return True
    except tarfile.TarError:
        return False
    finally:
        f.seek(start)


def _refuse_script(_: Callable[..., Any], f: Any, *args: Any, **options: Any) -> Any:
    raise UnsafeFileError(_file_name(f), SCRIPT)


def _load_pickle_of_mmengine(_: Callable[..., Any], __: Any, file: BinaryIO, **options: Any) -> Any:
    return DataUnpickler(file, **options).load()


def _load_yaml_of_mmengine(_: Callable[..., Any], __: Any, file: Any, **options: Any) -> Any:
    return yaml.load(file, Loader=yaml.SafeLoader)


def _file_name(f: Any) -> str:
    return str(f) if isinstance(f, str | os.PathLike) else str(getattr(f, "name", "the file"))
