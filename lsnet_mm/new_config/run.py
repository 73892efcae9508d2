"""What ``tools/new_config.py`` does: a config for a user's own data, written and explained."""

import argparse
import re
from pathlib import Path

from lsnet_mm.errors import InputError

from .compose import compose
from .tasks import TASKS

CONFIGS = Path(__file__).parents[2] / "configs"


def write_config(args: argparse.Namespace) -> Path:
    """Write a config as ``tools/new_config.py``'s arguments say, tell what was found, return it.

    Raises:
        InputError: If the data cannot be trained on, if the config is there already, or if it
            cannot be written.
    """
    base, out = _base_config(args), _target(args)
    if not args.data.is_dir():
        raise InputError(f"--data: there is no folder {args.data}")
    if args.classes and args.task != "semantic":
        raise InputError("--classes: COCO files and class folders name their classes themselves")
    if args.init == "published" and not TASKS[args.task].published:
        raise InputError(f"--init published: for {args.task} the backbone's weights are all")
    data = TASKS[args.task].read(args)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(compose(args, data, base, out), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out} ({error.strerror}): name another --out") from error
    print(*data.summary, *data.warnings, sep="\n")
    if data.val is None:
        print(
            "warning: there is no validation data: nothing will be measured. Name it with "
            "--val-ann and --val-img"
        )
    print(f"\nwrote {out}; next:")
    print(f"  python tools/check_dataset.py {out}\n  python tools/train.py {out}")
    return out


def _base_config(args: argparse.Namespace) -> Path:
    """Return the config to inherit.

    Raises:
        InputError: If the package was installed without them.
    """
    task = TASKS[args.task]
    # LSNet-B's published detectors start with exploding losses, which clipping prevents.
    stable = "_stable" if args.arch == "b" and task.trained_on == "coco" else ""
    name = f"{task.network.format(args.arch)}{stable}_{task.trained_on}.py"
    if not (CONFIGS / name).is_file():
        raise InputError(
            f"the config to inherit, {name}, is not in {CONFIGS}: an installed package has no "
            "configs, the repository has. Run tools/new_config.py of a clone, installed with "
            "pip install -e"
        )
    return CONFIGS / name


def _target(args: argparse.Namespace) -> Path:
    """Return the file to write."""
    own = re.sub(r"\W+", "_", args.data.resolve().name).lower()
    out = args.out or CONFIGS / f"{TASKS[args.task].network.format(args.arch)}_{own}.py"
    if out.suffix != ".py":
        raise InputError(f"--out: a config's name ends in .py, got {out}")
    if out.exists() and not args.force:
        raise InputError(f"{out} is there already: --force replaces it, --out names another")
    return out
