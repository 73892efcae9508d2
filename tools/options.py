"""Command-line options that the tools share, and how they end on an error of the user's."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add mm's usual options of a run."""
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    add_config_option(
        parser, 'train_cfg.max_epochs=1 data_root="data/x/" key="[a,b]"; no white space in a value'
    )
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=["default", "reduce-overhead", "max-autotune"],
        metavar="MODE",
        help="torch.compile the networks: faster after some minutes; reduce-overhead (CUDA graphs) "
        "is for images of one size, max-autotune takes longest",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher (the dist_ and slurm_ scripts set it)",
    )
    add_trust_option(parser)
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_predictor_options(parser: argparse.ArgumentParser) -> None:
    """Add what a predictor takes beside its model."""
    parser.add_argument("--device", help="e.g. cpu or cuda:1 (default: a GPU if there is one)")
    add_config_option(parser)
    add_trust_option(parser)


def add_config_option(parser: argparse.ArgumentParser, example: str = "") -> None:
    """Add mm's option that changes a config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="change settings of the config" + (example and f", e.g. {example}"),
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add the option without which files are read as data; configs cannot set it."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load files even if that could run a program hidden in them: only if you trust where "
        "they come from",
    )


def export_local_rank(args: argparse.Namespace) -> None:
    """Set ``LOCAL_RANK``, which mmengine reads, where the launcher names it otherwise."""
    rank = os.environ.get("SLURM_LOCALID") if args.launcher == "slurm" else None
    os.environ.setdefault("LOCAL_RANK", rank or str(args.local_rank))


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def whole_number(text: str) -> int:
    """Return a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """Return height and width of a text such as 224 or 800x1344."""
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a side or HEIGHTxWIDTH in pixels")
    return int(sides[0]), int(sides[-1])


@contextmanager
def user_errors() -> Iterator[None]:
    """Print errors that the user can mend as one message, and exit with 1.

    All processes of a machine meet the same ones, but for those of data: one of them prints.
    """
    from lsnet_mm.errors import DataError, InputError

    try:
        yield
    except (InputError, FileNotFoundError) as error:
        if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, DataError):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
