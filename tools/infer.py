"""Predict for images and videos, with a checkpoint or an exported file, and draw what is found.

A detector draws boxes and masks, a segmentor label maps, a classifier the 5 best classes. The exit
status is 1 if an image could not be read; all others are done.
"""

import argparse
import sys

from options import add_predictor_options, positive, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model",
        help="config, with --checkpoint; a checkpoint of tools/train.py, which holds its config; "
        "or a file of tools/export.py (.onnx, .xml, .pt2)",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="input",
        help="image, video, folder of images, or a quoted pattern such as 'images/**/*.png'",
    )
    parser.add_argument("--checkpoint", help="weights, file or URL; published ones fit too")
    parser.add_argument(
        "--out-dir", default="work_dirs/infer", help="folder for pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="detectors: COCO's list of all detections, for evaluation; segmentors: list of label "
        "maps, which are written to OUT_DIR/labels as PNG; classifiers: the 5 best classes",
    )
    parser.add_argument("--csv", metavar="FILE", help="classifiers: the same as a table")
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="draw detections of this score or more (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="images at a time (default: %(default)s); more is faster on a GPU",
    )
    add_predictor_options(parser)
    return parser.parse_args()


def main() -> None:
    """Predict."""
    args = parse_args()
    try:
        with user_errors():
            from lsnet_mm.inference.run import infer

            skipped = infer(args)
    except KeyboardInterrupt:
        print("interrupted: results are of the images so far", file=sys.stderr)
        sys.exit(130)
    sys.exit(1 if skipped else 0)


if __name__ == "__main__":
    main()
