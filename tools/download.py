"""Fetch the authors' published weights: resumed where they were cut off, and verified.

What is already there and whole is not fetched again.
"""

import argparse
import sys
from pathlib import Path

from options import add_trust_option, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="weights, such as lsnet_t")
    parser.add_argument(
        "--out-dir", type=Path, default="pretrain", help="folder to write to (default: %(default)s)"
    )
    parser.add_argument(
        "--hub", metavar="URL", help="folder to fetch from, e.g. a mirror of the authors' hub"
    )
    parser.add_argument(
        "--list", action="store_true", help="list names, the authors' results and configs"
    )
    add_trust_option(parser)
    args = parser.parse_args()
    if not args.names and not args.list:
        parser.error("give the NAME of weights, or --list")
    return args


def main() -> None:
    """List or fetch."""
    args = parse_args()
    from lsnet_mm import download, model_zoo

    try:
        with user_errors():
            if args.list:
                print(*model_zoo.table(), sep="\n")
            found = [model_zoo.find(name) for name in args.names]
            for weights in found:
                hub = args.hub or model_zoo.HUB
                path = download.fetch(weights, args.out_dir, hub, args.trust_checkpoint)
                print(f"{path}, to test it: python tools/test.py {weights.config} {path}")
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
