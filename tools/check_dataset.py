"""Check the data of any config of mmdet, mmseg or mmpretrain before a long run.

Decodes all images, checks annotations, prints statistics and draws some images. The exit status
is 1 if something is wrong.
"""

import argparse
import os
import sys

from options import add_config_option, add_trust_option, positive, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for pictures and the list of problems")
    add_config_option(parser, "data_root=data/x/ or train_dataloader=None")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count(), help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--sample",
        type=positive,
        metavar="N",
        help="open only N images of each data set, evenly spread (annotations are all checked)",
    )
    add_trust_option(parser)
    parser.set_defaults(launcher="none")
    return parser.parse_args()


def main() -> None:
    """Run the checks."""
    args = parse_args()
    try:
        from lsnet_mm.check import check
        from lsnet_mm.loading import guarded_loading

        with user_errors(), guarded_loading(args.trust_checkpoint):
            fine = check(args)
    except KeyboardInterrupt:
        print("interrupted: not all was checked", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
