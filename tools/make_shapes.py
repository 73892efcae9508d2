#!/usr/bin/env python
"""Write Shapes, a synthetic data set of overlapping shapes, as a folder laid out like COCO 2017."""

import argparse
import re
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

MIN_SIDE, MAX_SIDE = 32, 8192


class Parser(argparse.ArgumentParser):
    """Tells of a bad argument in one line."""

    def error(self, message: str) -> None:
        """Print the message and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def image_size(text: str) -> tuple[int, int]:
    """Return the width and height that a text such as 320x240 gives."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)
    size = tuple(map(int, match.groups())) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT of {MIN_SIDE} to {MAX_SIDE} pixels each, like 320x240"
        )
    return size


def whole_number(text: str) -> int:
    """Return a number of 0 or more."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def parse_args() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(description=__doc__)
    number = {"type": whole_number, "metavar": "N"}
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder to write to")
    parser.add_argument(
        "--train", **number, default=400, help="training images (default: %(default)s)"
    )
    parser.add_argument(
        "--val", **number, default=60, help="validation images (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=image_size, metavar="WxH", default="320x240", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--seed", **number, default=0, help="equal seeds give equal files (default: %(default)s)"
    )
    parser.add_argument(
        "--coco-classes",
        action="store_true",
        help="declare COCO's 80 categories, for configs made for COCO, and map the shapes to some:"
        " ellipse to sports ball, triangle to pizza, rectangle to book, star to kite,"
        " cross to airplane, ring to donut, crescent to banana",
    )
    return parser.parse_args()


def main() -> int:
    """Write the data set and return the exit status."""
    args = parse_args()
    # Not at the top, so that --help and bad arguments need not wait for it.
    from lsnet_mm.datasets.coco_writer import OutputFolderError, write_coco

    start = time.monotonic()
    counts = {"train": args.train, "val": args.val}
    try:
        total = write_coco(args.out_dir, counts, args.size, args.seed, args.coco_classes)
    except OutputFolderError as error:
        return fail(2, str(error))
    except OSError as error:
        return fail(1, f"cannot write the data set: {error}")
    except BrokenProcessPool:
        return fail(1, "a worker process was killed, perhaps for want of memory")
    except KeyboardInterrupt:
        return fail(130, "interrupted: the data set is not complete")
    seconds = time.monotonic() - start
    print(
        f"{args.out_dir}: {args.train} training and {args.val} validation images,"
        f" {total} annotations in {seconds:.1f} s"
    )
    return 0


def fail(status: int, message: str) -> int:
    """Print why the tool stops, and return the exit status."""
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
