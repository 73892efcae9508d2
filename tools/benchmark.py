"""Measure networks side by side, the LS convolution's operator alone (--ops), or the stand-in for
mmcv's compiled operators beside them (--mmcv-ops).

Everything is timed in turn in one run, medians are printed, and ratios are to the first row.
"""

import argparse
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

from options import add_trust_option, image_size, user_errors

MODES = ("eager", "folded", "compiled", "folded-compiled", "onnxruntime", "openvino")


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "networks",
        nargs="*",
        default=["lsnet_t"],
        help="lsnet_{t,s,b}, lsnet_{t,s,b}_backbone, timm's names or config files "
        "(default: lsnet_t)",
    )
    parser.add_argument("--ops", action="store_true", help="measure SKA at the networks' shapes")
    parser.add_argument(
        "--mmcv-ops",
        action="store_true",
        help="measure the stand-in for mmcv's compiled ops beside a compiled mmcv, on the CPU",
    )
    parser.add_argument("--train", action="store_true", help="a training step, not inference")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["eager"])
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=["unfold", "checkpointing"],
        default=[],
        help="measure each network also with SKA as plain torch, or with recomputed blocks",
    )
    parser.add_argument(
        "--authors",
        type=Path,
        metavar="DIR",
        help="a clone of the authors' repository: measure each network also with their backbone, "
        "or their kernels beside ours (--ops, on a GPU)",
    )
    parser.add_argument("--batch", nargs="+", type=int, default=[1], help="(default: 1)")
    parser.add_argument(
        "--size", nargs="+", type=image_size, default=[(224, 224)], help="e.g. 224 or 800x1344"
    )
    parser.add_argument(
        "--device", default=None, help="cpu or cuda (default: cuda if there is one)"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--channels-last", action="store_true", help="channels-last memory format")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--repeats", type=int, default=20, help="timings of each (default: 20)")
    parser.add_argument("--out", type=Path, help="folder for a CSV file and a plot")
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    from lsnet_mm.loading import guarded_loading

    with user_errors(), guarded_loading(args.trust_checkpoint):
        rows = measure(args)
    if args.out:
        write(args, rows)


def measure(args: argparse.Namespace) -> list[dict]:
    """Measure and print a table for every batch and size."""
    import torch

    from lsnet_mm.benchmark import networks, report, ska

    if args.threads:
        torch.set_num_threads(args.threads)
    gpu = torch.cuda.is_available() and not args.mmcv_ops
    device = torch.device(args.device or ("cuda" if gpu else "cpu"))
    dtype = getattr(torch, args.dtype)
    print(conditions(device, args))
    if args.mmcv_ops:
        from lsnet_mm.benchmark import mmcv_ops

        rows = mmcv_ops.compare(args.repeats)
        print(f"\n{report.table(rows)}", flush=True)
        return rows
    found = []
    for batch in args.batch:
        for size in args.size:
            shape = {"batch": batch, "size": f"{size[0]}x{size[1]}"}
            if args.ops:
                others = authors_kernels(args, device)
                rows = [
                    {"network": f"lsnet_{arch}", **row}
                    for arch in "tsb"
                    for row in ska.compare(arch, size, batch, dtype, device, args.repeats, others)
                ]
            else:
                rows = networks.compare(
                    subjects(args), args.modes, batch, size, dtype, device, args.repeats,
                    train=args.train, channels_last=args.channels_last,
                )  # fmt: skip
            print(f"\nbatch {batch}, {shape['size']}\n{report.table(rows)}", flush=True)
            found += [{**shape, **row} for row in rows]
    return found


def subjects(args: argparse.Namespace) -> dict[str, Callable]:
    """Return what builds each network and its variants, by name."""
    from lsnet_mm.benchmark.authors import with_authors_backbone
    from lsnet_mm.benchmark.subjects import build, with_checkpointing, with_unfold

    known = {"unfold": with_unfold, "checkpointing": with_checkpointing}
    variants = {name: known[name] for name in args.variants}
    if args.authors:
        variants["authors"] = partial(with_authors_backbone, folder=args.authors)
    found = {}
    for name in args.networks:
        found[name] = partial(build, name)
        for variant, change in variants.items():
            found[f"{name}, {variant}"] = lambda name=name, change=change: change(build(name))
    return found


def authors_kernels(args: argparse.Namespace, device) -> dict[str, Callable]:
    """Return the authors' operator by its name, if it is to be measured."""
    from lsnet_mm.benchmark.authors import authors_ska
    from lsnet_mm.errors import InputError

    if not args.authors:
        return {}
    if device.type != "cuda":
        raise InputError("--authors with --ops needs a GPU: their kernels run on nothing else")
    return {"authors": authors_ska(args.authors)}


def conditions(device, args: argparse.Namespace) -> str:
    """Describe what is measured on what."""
    import torch

    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if "model name" in line), "CPU")
        chip = f"{model}, {torch.get_num_threads()} threads"
    what = "training step" if args.train else "inference"
    layout = ", channels last" if args.channels_last else ""
    return f"{date.today()}, {chip}, torch {torch.__version__}, {args.dtype}{layout}, {what}"


def write(args: argparse.Namespace, rows: list[dict]) -> None:
    """Write the CSV file and, for inference of networks of known accuracy, the plot."""
    from lsnet_mm.benchmark import report

    args.out.mkdir(parents=True, exist_ok=True)
    report.write_csv(rows, args.out / "benchmark.csv")
    print(f"\n{args.out / 'benchmark.csv'}")
    if not args.ops and not args.mmcv_ops and not args.train:
        last = [
            row
            for row in rows
            if row["batch"] == args.batch[-1] and row["size"] == rows[-1]["size"]
        ]
        title = f"batch {args.batch[-1]}, {rows[-1]['size']}, {args.dtype}"
        if report.plot(last, title, args.out / "speed_accuracy.png"):
            print(args.out / "speed_accuracy.png")


if __name__ == "__main__":
    main()
