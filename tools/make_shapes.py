#!/usr/bin/env python
"""Write Shapes, a synthetic data set, as a folder laid out like a known one.

With --format coco and ade20k, scenes are of several shapes that overlap; with imagenet, of one
shape each. imagenet-c is imagenet's validation images with 15 corruptions at 5 severities.
"""

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
        "--format",
        choices=["coco", "ade20k", "imagenet", "imagenet-c"],
        default="coco",
        help="the folder's layout: COCO 2017's, ADE20K's, ImageNet's or ImageNet-C's"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--train",
        **number,
        default=400,
        help="training images; none are made for imagenet-c (default: %(default)s)",
    )
    parser.add_argument(
        "--val",
        **number,
        default=60,
        help="validation images; for imagenet-c, of every corruption and severity"
        " (default: %(default)s)",
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
        help="with coco: declare COCO's 80 categories, for configs made for COCO, and map the"
        " shapes to some: ellipse to sports ball, triangle to pizza, rectangle to book, star to"
        " kite, cross to airplane, ring to donut, crescent to banana",
    )
    parser.add_argument(
        "--imagenet-classes",
        action="store_true",
        help="with imagenet and imagenet-c: name folders after ImageNet-1k's synsets, all 1000 of"
        " them with imagenet, and map the shapes to some: ellipse to rugby ball, triangle to"
        " pick, rectangle to envelope, star to starfish, cross to airliner, ring to bagel,"
        " crescent to banana",
    )
    args = parser.parse_args()
    if args.coco_classes and args.format != "coco":
        parser.error(f"--coco-classes does not go with --format {args.format}")
    if args.imagenet_classes and not args.format.startswith("imagenet"):
        parser.error(f"--imagenet-classes does not go with --format {args.format}")
    return args


def write(args: argparse.Namespace) -> str:
    """Write the data set and return what it holds, in words."""
    # Imports are not at the top, so that --help and bad arguments need not wait for them.
    counts = {"train": args.train, "val": args.val}
    content = f"{args.train} training and {args.val} validation images"
    if args.format == "coco":
        from lsnet_mm.datasets.coco_writer import write_coco

        total = write_coco(args.out_dir, counts, args.size, args.seed, args.coco_classes)
        return f"{content}, {total} annotations"
    if args.format == "ade20k":
        from lsnet_mm.datasets.ade20k_writer import write_ade20k

        write_ade20k(args.out_dir, counts, args.size, args.seed)
        return f"{content}, each with a label map"
    from lsnet_mm.datasets.imagenet_writer import write_imagenet, write_imagenet_c

    if args.format == "imagenet":
        write_imagenet(args.out_dir, counts, args.size, args.seed, args.imagenet_classes)
        return content
    write_imagenet_c(args.out_dir, args.val, args.size, args.seed, args.imagenet_classes)
    return f"{args.val} images of each of 15 corruptions at 5 severities"


def main() -> int:
    """Write the data set and return the exit status."""
    args = parse_args()
    from lsnet_mm.datasets.folders import OutputFolderError

    start = time.monotonic()
    try:
        content = write(args)
    except OutputFolderError as error:
        return fail(2, str(error))
    except OSError as error:
        return fail(1, f"cannot write the data set: {error}")
    except BrokenProcessPool:
        return fail(1, "a worker process was killed, perhaps for want of memory")
    except KeyboardInterrupt:
        return fail(130, "interrupted: the data set is not complete")
    print(f"{args.out_dir}: {content} in {time.monotonic() - start:.1f} s")
    return 0


def fail(status: int, message: str) -> int:
    """Print why the tool stops, and return the exit status."""
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
