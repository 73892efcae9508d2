"""Train any config of mmdet, mmseg or mmpretrain, on one CPU up to many GPUs and nodes."""

import argparse

from options import add_run_options, export_local_rank, user_errors, whole_number


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    add_run_options(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint, or from the work folder's latest that is not damaged, "
        "if there is one",
    )
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same weights at every run on this machine, with seed 0 if the config sets none; "
        "slower (docs/reliability.md)",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate to the total batch (auto_scale_lr of the config)",
    )
    parser.add_argument(
        "--skip-nonfinite",
        type=whole_number,
        default=0,
        metavar="N",
        help="leave out up to N iterations whose loss is not finite, where training would stop",
    )
    return parser.parse_args()


def main() -> None:
    """Run the training."""
    args = parse_args()
    export_local_rank(args)
    from lsnet_mm.engine import train

    with user_errors():
        train(args)


if __name__ == "__main__":
    main()
