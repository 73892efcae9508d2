"""Run all cases and write ``docs/compatibility.md``: ``make matrix``."""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace

from tests.conftest import ROOT

from .cases import CASES, Case
from .page import compose
from .run import ORIGINAL, Outcome, run_apart

PAGE = ROOT / "docs/compatibility.md"
RESULTS = ROOT / "work_dirs/matrix.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="cases at a time (default 2)")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run found")
    args = parser.parse_args()
    outcomes = _earlier() if args.resume else {}
    left = [case for case in CASES if key(case) not in outcomes]
    started = time.monotonic()
    pool = ThreadPoolExecutor(args.processes)
    try:
        running = {pool.submit(run_case, case): case for case in left}
        for done, future in enumerate(as_completed(running), 1):
            case, outcome = running[future], future.result()
            outcomes[key(case)] = outcome
            _keep(outcomes)
            rest = (time.monotonic() - started) / done * (len(left) - done)
            state = "ok" if outcome.predicted else f"FAILS: {outcome.error}"
            print(
                f"{done}/{len(left)} {key(case)}: {state} "
                f"({outcome.seconds:.0f} s, {rest / 60:.0f} min left)",
                flush=True,
            )
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the cases at work only
    PAGE.write_text(compose([(case, outcomes[key(case)]) for case in CASES]), encoding="utf-8")
    failed = sum(not outcomes[key(case)].predicted for case in CASES)
    print(f"{len(CASES) - failed} of {len(CASES)} configs train and predict: see {PAGE}")


def key(case: Case) -> str:
    """What tells a case from the others: its library and name."""
    return f"{case.library} {case.family}"


def run_case(case: Case) -> Outcome:
    """Run a case, and if it fails the library's own config too."""
    outcome = run_apart(case)
    if not outcome.predicted:
        original = run_apart(replace(case, way=ORIGINAL))
        outcome.original = original.error
    return outcome


def _earlier() -> dict[str, Outcome]:
    if not RESULTS.exists():
        return {}
    return {name: Outcome(**found) for name, found in json.loads(RESULTS.read_text()).items()}


def _keep(outcomes: dict[str, Outcome]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    found = {name: asdict(outcome) for name, outcome in outcomes.items()}
    RESULTS.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
