"""Fuzz the readers of the user's files: ``python -m tests.fuzz --seconds 3600``.

Each case ends in what is read, or in an error that names the file. What else happens is printed,
with the changes that are enough for it, and its file kept in the folder of findings.
"""

import argparse
import tempfile
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path

import torch

import lsnet_mm  # noqa: F401  makes mmcv.ops importable

from .engine import BATCH, Finding, Target, limit_memory, minimise, run_cases
from .targets import TARGETS


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/fuzz"))
    parser.add_argument("--case", help="run this one alone, without a child process")
    return parser.parse_args()


def main() -> None:
    """Run batches of the targets in turn until the time is over."""
    args = parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        targets = {name: TARGETS[name](_made(Path(folder) / name)) for name in args.targets}
        if args.case:
            _run_alone(next(iter(targets.values())), args.case, args.out)
            return
        limit_memory()  # making a case may take as much as reading it
        _fuzz(targets, args)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _run_alone(target: Target, case: str, out: Path) -> None:
    path = out / "case"
    path.write_bytes(target.make(case)[0])
    print(target.read(path))


def _fuzz(targets: dict[str, Target], args: argparse.Namespace) -> None:
    known: dict[str, dict[str, Finding]] = {name: {} for name in targets}
    ends, times = {name: Counter() for name in targets}, Counter()
    batches = ((number, *item) for number in count() for item in targets.items())
    start = time.monotonic()
    with suppress(KeyboardInterrupt):
        while time.monotonic() - start < args.seconds:
            number, name, target = next(batches)
            began = time.monotonic()
            first = number * BATCH
            cases = [f"{name}/{args.seed}/{i}" for i in range(first, first + BATCH)]
            outcome = run_cases(target, cases)
            ends[name] += outcome.counts
            times[name] += time.monotonic() - began
            for finding in outcome.findings:
                if finding.what not in known[name]:
                    known[name][finding.what] = finding
                    _print(name, target, finding, args.out)
    _report(ends, times, known)


def _print(name: str, target: Target, finding: Finding, out: Path) -> None:
    kept = minimise(target, finding)
    file = out / finding.case.replace("/", "_")
    file.write_bytes(target.make(finding.case, kept)[0])
    print(f"{name}: {finding.what}\n  case {finding.case}, changes {kept}, {file}")
    print("  " + finding.details.strip().replace("\n", "\n  "), flush=True)


def _report(ends: dict[str, Counter], times: Counter, known: dict[str, dict[str, Finding]]) -> None:
    for name, counts in ends.items():
        print(
            f"{name}: {counts.total()} cases in {times[name]:.0f} s, "
            + ", ".join(f"{how} {number}" for how, number in counts.most_common())
            + f"; findings: {len(known[name])}"
        )


if __name__ == "__main__":
    main()
