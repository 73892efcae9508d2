"""Write one HTML page of a run: its curves against the published ones, results, worst cases.

The page needs no network. What it shows of predictions comes from the work folder's best or newest
checkpoint, which is run over the config's test set, or from a file that tools/test.py wrote.
"""

import argparse

from options import add_config_option, add_trust_option, positive, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", help="folder of tools/train.py or tools/test.py")
    parser.add_argument("--out", metavar="FILE.html", help="default: report.html in the folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--predictions", metavar="FILE.pkl", help="what tools/test.py --out wrote, of all images"
    )
    source.add_argument("--checkpoint", help="weights for the predictions")
    source.add_argument("--no-predictions", action="store_true", help="leave that part out")
    parser.add_argument(
        "--max-images",
        type=positive,
        metavar="N",
        help="predict only N images of the test set, evenly spread",
    )
    add_config_option(parser, "data_root=data/x/")
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Write the page."""
    args = parse_args()
    from lsnet_mm.report import report

    with user_errors():
        print(f"Report: {report(args)}")


if __name__ == "__main__":
    main()
