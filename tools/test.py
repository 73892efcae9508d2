"""Test a checkpoint with any config of mmdet, mmseg or mmpretrain: mAP, mIoU or top-1."""

import argparse

from options import add_run_options, export_local_rank, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file or URL; published ones fit too")
    add_run_options(parser)
    parser.add_argument("--out", metavar="FILE.pkl", help="write all predictions to a pickle file")
    parser.add_argument("--show", action="store_true", help="show each prediction in a window")
    parser.add_argument("--show-dir", help="write pictures of predictions beside ground truth")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds that --show waits")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument(
        "--fold",
        action="store_true",
        help="fold BatchNorm and parallel branches into convolutions first: faster, same results",
    )
    return parser.parse_args()


def main() -> None:
    """Run the test."""
    args = parse_args()
    export_local_rank(args)
    from lsnet_mm.engine import test

    with user_errors():
        test(args)


if __name__ == "__main__":
    main()
