"""Cases made from their number, run in child processes that may crash, hang or fill the memory.

A case is a sound input and a few changes, each drawn from a random generator of its own: so a case
can be made again from its number, and be tried with some of its changes left out.
"""

import multiprocessing
import os
import resource
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from lsnet_mm.errors import InputError

CHANGES = (0, 1, 1, 1, 2, 2, 3, 5)  # how many a case may have
PATIENCE = 5  # seconds of computing that a case may take
HANGS = 120  # seconds after which it is given up, on a machine that has much else to do
GROWTH = 1 << 30  # bytes that a case may add to the memory in use
ADDRESSES = 4 << 30  # bytes of address space that may be added: no case takes the machine
BATCH = 250  # cases of one child process


class Target(ABC):
    """Something that reads files, with sound files to start from.

    Args:
        folder: Of its own, for files that inputs refer to.
    """

    allowed: tuple[type[Exception], ...] = (InputError,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def start(self, random: Random) -> Any:
        """Return something sound."""

    def change(self, value: Any, random: Random) -> Any:
        """Return it with a change; by default the changes are to its bytes alone."""
        raise NotImplementedError

    def encode(self, value: Any, random: Random) -> bytes:
        """Return it as a file's bytes."""
        return value

    @abstractmethod
    def change_bytes(self, data: bytes, random: Random) -> bytes:
        """Return a file's bytes with a change."""

    @abstractmethod
    def read(self, path: Path) -> bool:
        """Read a file, and tell whether it was taken for sound."""

    def make(self, case: str, kept: Collection[int] | None = None) -> tuple[bytes, int]:
        """Return a case's bytes, with some of its changes or all, and how many it has in all."""
        random = Random(case)
        value, count = self.start(random), random.choice(CHANGES)
        own = {i: Random(f"{case}/{i}") for i in range(count)}
        to_value = type(self).change is not Target.change
        deep = [r for i, r in own.items() if r.random() < 0.7 and to_value and _in(i, kept)]
        flat = [r for i, r in own.items() if r not in deep and _in(i, kept)]
        for r in deep:
            value = self.change(value, r)
        data = self.encode(value, Random(f"{case}/file"))
        for r in flat:
            data = self.change_bytes(data, r)
        return data, count


def _in(i: int, kept: Collection[int] | None) -> bool:
    return kept is None or i in kept


class Finding(NamedTuple):
    """What should not have happened.

    Attributes:
        what: In short: findings of the same short text count as one.
        case: What it is made from.
        details: A traceback, if there is one.
    """

    what: str
    case: str
    details: str


class Outcome(NamedTuple):
    """Of some cases: how many ended how (``"sound"``, or the kind of error), and what was found."""

    counts: Counter
    findings: list[Finding]


def run_cases(target: Target, cases: list[str]) -> Outcome:
    """Run cases in child processes, until all are done; a child that dies is a finding."""
    counts, findings = Counter(), []
    while cases:
        done = _run_batch(target, cases, counts, findings)
        cases = cases[done:]
    return Outcome(counts, findings)


def _run_batch(target: Target, cases: list[str], counts: Counter, findings: list[Finding]) -> int:
    """Run cases in a child process, and return how many of them are over."""
    here, there = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _work(target, cases, there)
            status = 0
        finally:
            os._exit(status)
    there.close()
    done, what = 0, ""
    try:
        while done < len(cases):
            if not here.poll(HANGS):
                what = f"takes more than {HANGS} s"
                break
            ended, found, details = here.recv()
            counts[ended] += 1
            if found:
                findings.append(Finding(found, cases[done], details))
            done += 1
    except EOFError:
        what = "ends the process"
    if what:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if what:
        if os.WIFSIGNALED(status) and "ends" in what:
            what += f" with {signal.Signals(os.WTERMSIG(status)).name}"
        findings.append(Finding(what, cases[done], ""))
        counts["crash"] += 1
        done += 1
    return done


def _work(target: Target, cases: list[str], answers: Connection) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = target.folder / f"case{os.getpid()}"
    for case in cases:
        path.write_bytes(target.make(case)[0])
        before = _peak()
        answers.send(_ending(target, path, before))
    path.unlink()


def limit_memory() -> None:
    """Let this process add no more than ``ADDRESSES`` to what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES, hard))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _ending(target: Target, path: Path, before: int) -> tuple[str, str, str]:
    """How reading a file ends, and if that should not be what it is, in short and at length."""
    start = time.process_time()
    try:
        ended = "sound" if target.read(path) else "told"
    except target.allowed as error:
        ended = type(error).__name__
        if path.name not in str(error) and str(target.folder) not in str(error):
            return ended, f"{ended} does not name the file: {_place(error)}", _trace(error)
    except BaseException as error:
        what = f"{type(error).__name__} in {_place(error)}"
        return type(error).__name__, what, _trace(error)
    if _peak() - before > GROWTH:
        return ended, f"takes {(_peak() - before) >> 20} MiB", ""
    if time.process_time() - start > PATIENCE:
        return ended, f"computes for {time.process_time() - start:.0f} s", ""
    return ended, "", ""


def _place(error: BaseException) -> str:
    """The innermost function of the package on an error's way, and the one that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/lsnet_mm/" in f.filename] or frames
    return " < ".join(
        dict.fromkeys(f"{Path(f.filename).name}:{f.name}" for f in (frames[-1], ours[-1]))
    )


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-6))[-3000:]


def minimise(target: Target, finding: Finding) -> list[int]:
    """Return the changes of a case that are enough for its finding, by leaving out one by one."""
    kept = list(range(target.make(finding.case)[1]))
    for i in tuple(kept):
        fewer = [k for k in kept if k != i]
        if any(f.what == finding.what for f in _run_reduced(target, finding.case, fewer).findings):
            kept = fewer
    return kept


class Reduced(Target):
    """A target that makes its cases with some of their changes only."""

    def __init__(self, target: Target, kept: Collection[int]) -> None:
        super().__init__(target.folder)
        self.target, self.kept = target, kept
        self.allowed = target.allowed

    def make(self, case: str, kept: Collection[int] | None = None) -> tuple[bytes, int]:
        return self.target.make(case, self.kept)

    def start(self, random: Random) -> Any:
        raise NotImplementedError

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        raise NotImplementedError

    def read(self, path: Path) -> bool:
        return self.target.read(path)


def _run_reduced(target: Target, case: str, kept: Collection[int]) -> Outcome:
    return run_cases(Reduced(target, kept), [case])
