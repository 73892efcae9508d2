"""Start N processes of a tool on this machine with torchrun, as one of NNODES machines.

Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, as in mm's scripts. On a single machine without
PORT a free port is taken, so that several runs can share it. MAX_RESTARTS, on a single machine, is
how often all processes are started again when one dies, at a free port each time; training then
goes on from its latest checkpoint.
"""

import os
import signal
import socket
import sys

from torch.cuda import device_count, is_available
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main as torchrun


def rendezvous(environment: dict[str, str]) -> list[str]:
    """Options that say where the processes meet.

    Raises:
        ValueError: If a variable does not fit, or this machine cannot open the port.
    """
    nodes, node_rank = _number(environment, "NNODES", 1), _number(environment, "NODE_RANK", 0)
    if nodes == 1 and (not environment.get("PORT") or environment.get("MAX_RESTARTS")):
        return ["--standalone"]
    if node_rank >= nodes:  # all would wait for a machine that never comes
        raise ValueError(f"NODE_RANK must be less than NNODES ({nodes}), got {node_rank}")
    port = _number(environment, "PORT", 29500)
    if node_rank == 0:  # the others connect to it
        _check_port(port)
    return [
        f"--nnodes={nodes}",
        f"--node_rank={node_rank}",
        f"--master_addr={environment.get('MASTER_ADDR') or '127.0.0.1'}",
        f"--master_port={port}",
    ]


def restarts(environment: dict[str, str]) -> list[str]:
    """Options that say how often to start again.

    Raises:
        ValueError: If MAX_RESTARTS is no number, or there are several machines.
    """
    times = _number(environment, "MAX_RESTARTS", 0)
    if times and _number(environment, "NNODES", 1) > 1:  # the others would not start again
        raise ValueError("MAX_RESTARTS is for a single machine, but NNODES is more than 1")
    return [f"--max-restarts={times}"]


def _number(environment: dict[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal():
        raise ValueError(f"{name} must be a number, got {value!r}")
    return int(value)


def _check_port(port: int) -> None:
    try:
        socket.create_server(("", port)).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"port {port} is in use on this machine, or not allowed: set PORT to a free one"
        ) from error


def check_processes(processes: str) -> None:
    """Refuse a number of processes that this machine's GPUs cannot hold one each.

    Raises:
        ValueError: If it is no number from 1 on, or above the number of GPUs.
    """
    if not processes.isdecimal() or int(processes) < 1:
        raise ValueError(f"the number of GPUs must be 1 or more, got {processes!r}")
    if is_available() and int(processes) > device_count():
        raise ValueError(
            f"{processes} processes were asked for, but this machine has {device_count()} "
            "GPUs (CUDA_VISIBLE_DEVICES= runs them on the CPU)"
        )


def main(processes: str, *command: str) -> int:
    """Run ``command`` in ``processes`` processes and return the exit status."""
    try:
        check_processes(processes)
        environment = dict(os.environ)
        options = [*rendezvous(environment), *restarts(environment)]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not is_available():  # torchrun would leave all but one core per process idle
        threads = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # Else processes that are started again find where the dead ones listened, and wait for those.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        torchrun([*options, f"--nproc_per_node={processes}", *command])
    except ChildFailedError as error:
        ended = {rank: f for rank, f in error.failures.items() if f.exitcode == -signal.SIGTERM}
        # Those that torchrun has ended itself are no cause.
        causes = {rank: f for rank, f in error.failures.items() if rank not in ended} or ended
        return max(_tell(rank, failure) for rank, failure in causes.items())
    except SignalException as stopped:  # by the user or a scheduler; torchrun passed it on
        return 128 + stopped.sigval
    return 0


def _tell(rank: int, failure: ProcessFailure) -> int:
    """Return a process's exit status; one that was killed could not tell its error itself."""
    if failure.exitcode >= 0:
        return failure.exitcode or 1
    print(
        f"error: process {rank} was killed by {failure.signal_name()}, and the others were ended. "
        "If nobody did that, the machine may be out of memory (dmesg tells). Training goes on from "
        "its latest checkpoint with --resume",
        file=sys.stderr,
    )
    return 128 - failure.exitcode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
