"""What a run reads, checked before it starts or explained when it cannot be read."""

import errno
import os.path as osp
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from torch import nn

from lsnet_mm.errors import InputError

CONNECTION = "multiprocessing/connection.py"
TORCHS = "DataLoader worker (pid"  # how torch begins to tell of a worker's death


def check_paths(cfg: Config, loaders: Iterable[str]) -> None:
    """Check that the files and folders the loaders read from exist.

    Args:
        cfg: Config with the loaders.
        loaders: Names of the data loaders; those that ``cfg`` does not set are passed over.

    Raises:
        InputError: Naming every missing path and the setting it comes from.
    """
    missing = [
        f"{loader}: {path}"
        for loader in loaders
        for path in _paths(cfg.get(loader) or {})
        if "://" not in path and not osp.exists(path)
    ]
    if missing:
        raise InputError(
            "data not found:\n  "
            + "\n  ".join(dict.fromkeys(missing))
            + "\nPut the data set there (layouts in docs/datasets.md) or name its folder, "
            "e.g. --cfg-options data_root=DIR"
        )


def class_counts(model: nn.Module) -> dict[str, int]:
    """Return how many classes each part of a model that says so predicts, by its path."""
    counts = {path: getattr(module, "num_classes", None) for path, module in model.named_modules()}
    # A region proposal head tells objects from background, whatever the classes; mmpretrain's
    # backbones have -1 for none.
    return {
        path: count
        for path, count in counts.items()
        if isinstance(count, int) and count > 0 and not path.endswith("rpn_head")
    }


def class_misfits(counts: Mapping[str, int], data: str, num_classes: int) -> list[str]:
    """Return what is wrong with parts of a model for data of ``num_classes`` classes.

    Args:
        counts: As from ``class_counts``.
        data: What the data is called.
        num_classes: How many classes the data has.
    """
    return [
        f"{path} predicts {count} classes, but {data} has {num_classes}: set "
        f"model.{path}.num_classes={num_classes} or metainfo.classes"
        for path, count in counts.items()
        if count != num_classes
    ]


@contextmanager
def explain_empty_data(loader: Any) -> Iterator[None]:
    """Put words to what mmengine raises when a loader's data set is left without images.

    Raises:
        InputError: In place of numpy's complaint about nothing to concatenate.
    """
    try:
        yield
    except ValueError as error:
        if "need at least one array to concatenate" not in str(error):
            raise
        raise InputError(
            f"a data set has no images to use ({', '.join(_paths(loader))}): its files may have "
            "another suffix (img_suffix), its annotation file may name other classes than the "
            "config (metainfo.classes), or filter_cfg may leave none"
        ) from error


@contextmanager
def explain_full_disk(folder: str) -> Iterator[None]:
    """Put words to a disk, quota or file size limit that a run has reached.

    Args:
        folder: Where the run writes, for errors that name no file.

    Raises:
        InputError: In place of the ``OSError``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Checkpoints written "
            "before are whole: make room and go on with --resume; to keep fewer of them, "
            "--cfg-options default_hooks.checkpoint.max_keep_ckpts=2"
        ) from error


class _DeadWorker(RuntimeError):
    """A data loader's worker has died, which its connection has noticed before torch."""


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Put words to the death of a data loader's worker.

    Raises:
        InputError: In place of torch's ``RuntimeError``.
    """
    try:
        # Two clauses, as torch's may be raised, by a signal, while the connection's is looked at.
        try:
            yield
        except (ConnectionError, EOFError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            if not any(frame.filename.endswith(CONNECTION) for frame in frames):
                raise
            raise _DeadWorker(f"a data loader's worker has died ({error})") from error
    except RuntimeError as error:
        if not isinstance(error, _DeadWorker) and not str(error).startswith(TORCHS):
            raise
        raise InputError(
            f"{str(error).rstrip('. ')}. Often the machine is out of memory (dmesg tells) or of "
            "shared memory (df /dev/shm): try fewer workers, --cfg-options "
            "train_dataloader.num_workers=1 val_dataloader.num_workers=1, and go on with --resume"
        ) from error


def _paths(node: Any) -> Iterator[str]:
    """Annotation files and image folders of every dataset in a loader's config, wrapped or not."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _paths(item)
    elif isinstance(node, dict):
        root = node.get("data_root") or ""
        prefix = node.get("data_prefix") or {}
        prefixes = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
        paths = [p for p in (node.get("ann_file"), *prefixes) if isinstance(p, str) and p]
        if root and not paths:  # the data set knows what to look for in it
            yield root
        for path in paths:
            yield osp.join(root, path)
        for key in ("dataset", "datasets"):
            yield from _paths(node.get(key))
