"""Which checkpoint a run goes on from."""

import os
import os.path as osp
import zipfile
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from lsnet_mm.errors import CheckpointError, InputError, UnsafeFileError

from .checkpoints import INTERRUPTED, POINTER


def set_up_resume(cfg: Config, choice: str | None) -> list[str]:
    """Set ``cfg`` to go on from a checkpoint that is whole.

    Args:
        cfg: Config of the run, with its ``work_dir``.
        choice: A checkpoint's path or URL, ``'auto'`` for the work folder's latest good one, or
            None for what ``cfg`` says. A run that torchrun has restarted goes on automatically.

    Returns:
        What to tell the user: damaged checkpoints that were passed over, and the one taken.

    Raises:
        InputError: If the chosen checkpoint does not exist, or all that there are are damaged.
        CheckpointError: If the chosen checkpoint is damaged, or none to resume from.
    """
    if choice is None and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0:
        choice = "auto"
    if choice is None and cfg.get("resume"):
        choice = cfg.get("load_from") or "auto"
    if choice is None:
        return []
    notes: list[str] = []
    if choice == "auto":
        choice = _latest(cfg.work_dir, notes)
        if choice is None:
            cfg.resume = False  # and what is to be fine-tuned, cfg.load_from, stays
            return [f"No checkpoint in {cfg.work_dir} to go on from: training starts anew."]
    cfg.resume, cfg.load_from = True, choice
    if "://" in choice:
        return notes
    seed = check_checkpoint(choice)["meta"].get("seed")
    given = cfg.get("randomness", {})
    if given.get("seed") not in (None, seed):
        notes.append(f"The checkpoint's seed {seed} holds, not the config's {given['seed']}.")
    cfg.randomness = {**given, "seed": seed}  # samplers are built before mmengine resumes it
    return notes


def check_checkpoint(path: str) -> dict[str, Any]:
    """Load a checkpoint if it is whole and a run can go on from it.

    Raises:
        InputError: If there is no such file.
        CheckpointError: If it is damaged, or holds weights alone.
    """
    if not osp.isfile(path):
        raise InputError(f"checkpoint not found: {path}")
    if damage := _damage(path):
        raise CheckpointError(f"{path} is damaged: {damage}")
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    if not isinstance(checkpoint, dict) or not {"meta", "optimizer"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path} holds no optimizer state to resume: to start from its weights, "
            "use --cfg-options load_from=FILE"
        )
    return checkpoint


def _latest(work_dir: str, notes: list[str]) -> str | None:
    """The newest checkpoint that is good, with notes on those before it; None for a new run.

    Raises:
        InputError: If there are checkpoints, but all are damaged; or as UnsafeFileError, if one is
            more than data.
    """
    candidates = _candidates(work_dir)
    for path in candidates:
        try:
            check_checkpoint(path)
        except UnsafeFileError:  # nothing that a run writes: not to be passed over
            raise
        except InputError as error:
            notes.append(str(error))
        else:
            notes.append(f"Going on from {path}.")
            return path
    if candidates:
        raise InputError(
            "\n  ".join(["--resume: no checkpoint can be used:", *notes])
            + f"\nTo start anew, remove them or choose another --work-dir than {work_dir}"
        )
    return None


def _damage(path: str) -> str | None:
    """What is wrong with a torch checkpoint's file, every byte of which is read."""
    if not zipfile.is_zipfile(path):  # what torch has written since 1.6
        return "it is cut short, or was never a torch checkpoint"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return str(error)
    return f"wrong checksum of {damaged}" if damaged else None


def _candidates(work_dir: str) -> list[str]:
    """Checkpoints of the newest run in a folder, the one that was written last first."""
    pointer = Path(work_dir, POINTER)
    if not pointer.exists():  # lost, or the run was killed before its first was named
        return _newest_first(work_dir)
    named = pointer.read_text(errors="replace").strip()
    if not named:  # a new run beside an old one's checkpoints has none yet
        return []
    if not osp.isfile(named) and Path(work_dir, osp.basename(named)).is_file():
        named = osp.join(work_dir, osp.basename(named))  # the folder was moved
    files = (path for folder in (osp.dirname(named), work_dir) for path in _newest_first(folder))
    # The checkpoint hook's out_dir may be another folder, or the same by another name.
    return list({osp.realpath(path): path for path in (named, *files)}.values())


def _newest_first(folder: str) -> list[str]:
    patterns = ("epoch_*.pth", "iter_*.pth", INTERRUPTED)
    files = [path for pattern in patterns for path in Path(folder).glob(pattern)]
    return [str(path) for path in sorted(files, key=lambda path: -path.stat().st_mtime)]
