"""Predict for many images of as many sizes, and tell whether memory grows.

The images are noise. Of training and testing MemoryHook tells: docs/long_runs.md.
"""

import argparse
import time

from options import add_predictor_options, positive, user_errors

LINES = 10  # of the table


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="config, checkpoint or exported file, as for tools/infer.py")
    parser.add_argument("--checkpoint", help="weights, if the model is a config")
    parser.add_argument(
        "--count", type=positive, default=5000, metavar="N", help="images (default: %(default)s)"
    )
    parser.add_argument(
        "--sides",
        type=positive,
        nargs=2,
        default=(64, 640),
        metavar=("MIN", "MAX"),
        help="pixels of the images' height and width (default: 64 640)",
    )
    add_predictor_options(parser)
    return parser.parse_args()


def main() -> None:
    """Predict, and print memory meanwhile and its growth."""
    args = parse_args()
    with user_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Predict for ``args.count`` images."""
    import numpy as np

    from lsnet_mm.engine.memory import growth, peak, resident
    from lsnet_mm.inference import Predictor

    predict = Predictor(
        args.model, args.checkpoint, args.device, args.cfg_options, args.trust_checkpoint
    )
    random = np.random.default_rng(0)
    low, high = sorted(args.sides)
    history, start = [], time.monotonic()
    for done in range(1, args.count + 1):
        height, width = random.integers(low, high, 2, endpoint=True)
        predict(random.integers(0, 256, (height, width, 3), np.uint8))
        history.append(resident())
        if done % max(args.count // LINES, 1) == 0:
            left = (time.monotonic() - start) / done * (args.count - done)
            print(f"{done} images: {history[-1]:.0f} MiB, {left:.0f} s left", flush=True)
    print(f"grows by {growth(history):.2f} MiB in 1,000 images; peak {peak():.0f} MiB")


if __name__ == "__main__":
    main()
