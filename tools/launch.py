"""Start N processes of a tool on this machine with torchrun, as one of NNODES machines.

Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, as in mm's scripts. On a single machine without
PORT a free port is taken, so that several runs can share it.
"""

import os
import socket
import sys

from torch.cuda import device_count, is_available
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def rendezvous(environment: dict[str, str]) -> list[str]:
    """Options that say where the processes meet.

    Raises:
        ValueError: If a variable does not fit, or this machine cannot open the port.
    """
    nodes, node_rank = _number(environment, "NNODES", 1), _number(environment, "NODE_RANK", 0)
    if nodes == 1 and not environment.get("PORT"):
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
        options = [*rendezvous(dict(os.environ)), f"--nproc_per_node={processes}"]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not is_available():  # torchrun would leave all but one core per process idle
        threads = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        torchrun([*options, *command])
    except ChildFailedError as error:  # the process has told its own error
        return max(failure.exitcode for failure in error.failures.values()) or 1
    except SignalException as stopped:  # by the user or a scheduler; torchrun passed it on
        return 128 + stopped.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
