"""Write a config for a data set of your own: it inherits one of ours and says what differs.

Reads COCO files (boxes and masks), images with label maps as ADE20K's, or a folder of images for
each class, in the usual layouts; docs/own_data.md has them.
"""

import argparse
from pathlib import Path

from options import user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data's folder")
    parser.add_argument(
        "--task",
        required=True,
        choices=["detection", "instance", "semantic", "classification"],
        help="RetinaNet, Mask R-CNN, Semantic FPN or LSNet alone",
    )
    parser.add_argument(
        "--arch", choices=["t", "s", "b"], default="t", help="LSNet's size (default: %(default)s)"
    )
    parser.add_argument(
        "--init",
        choices=["imagenet", "published"],
        default="imagenet",
        help="weights to start from: the backbone's, or the whole network's that the authors "
        "trained on COCO or ADE20K (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.py", help="config to write (default: in configs/)"
    )
    parser.add_argument("--force", action="store_true", help="replace a config that is there")
    where = parser.add_argument_group("where the data is, if it is not found; also seen from DIR")
    for split, what in (("train", "training"), ("val", "validation")):
        where.add_argument(
            f"--{split}-ann",
            type=Path,
            metavar="PATH",
            help=f"COCO file, or folder of label maps, for {what}",
        )
        where.add_argument(
            f"--{split}-img", type=Path, metavar="DIR", help=f"images, or class folders, for {what}"
        )
    label_maps = parser.add_argument_group("label maps")
    label_maps.add_argument(
        "--classes",
        metavar="A,B,C",
        help="class names in the order of their values, or a file with a name on each line "
        "(default: the folder's classes.txt)",
    )
    label_maps.add_argument(
        "--zero",
        choices=["class", "ignored"],
        help="what the value 0 is: the first class, or nothing and 1 the first class "
        "(default: told from the values)",
    )
    return parser.parse_args()


def main() -> None:
    """Write the config."""
    args = parse_args()
    from lsnet_mm.new_config import write_config

    with user_errors():
        write_config(args)


if __name__ == "__main__":
    main()
