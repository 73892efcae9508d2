"""Files that would run a program if they were loaded as more than data.

The program makes an empty file, the canary.
"""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Canary:
    """Unpickles to a call of ``open``, which makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return open, (str(self.path), "w")


def write_zip(path: Path, content: Any) -> None:
    torch.save(content, path)


def write_legacy(path: Path, content: Any) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_tar(path: Path, content: Any) -> None:
    """As torch's first versions wrote: the reader unpickles the member ``storages`` first."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(content)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


WRITERS = {"zip": write_zip, "legacy": write_legacy, "tar": write_tar, "pickle": write_pickle}


def write_getattr(path: Path, canary: Path) -> None:
    """A checkpoint of functions that mmengine allows: with getattr it reaches ``eval``.

    ``_rebuild_from_type_v2``, which is torch's, calls what it is given.
    """
    getattr_ = b"c__builtin__\ngetattr\n"
    builtins = getattr_ + getattr_ + _text("__self__") + b"\x86R"
    eval_ = getattr_ + builtins + _text("eval") + b"\x86R"
    code = _text(f"open({str(canary)!r}, 'w')") + b"\x85"
    call = b"ctorch._tensor\n_rebuild_from_type_v2\n(" + eval_ + b"N" + code + b"NtR"
    write_checkpoint(path, b"\x80\x02" + call + b".")


def write_checkpoint(path: Path, data: bytes) -> None:
    """A checkpoint without tensors, of pickled data."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data
