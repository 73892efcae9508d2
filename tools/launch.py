"""Start N processes of a tool on this machine with torchrun, as one of NNODES machines.

Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, as in mm's scripts. On a single machine without
PORT a free port is taken, so that several runs can share it.
"""

import os
import sys

from torch.cuda import device_count, is_available
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def rendezvous(environment: dict[str, str]) -> list[str]:
    """Options that say where the processes meet."""
    nodes = environment.get("NNODES", "1")
    if nodes == "1" and "PORT" not in environment:
        return ["--standalone"]
    return [
        f"--nnodes={nodes}",
        f"--node_rank={environment.get('NODE_RANK', '0')}",
        f"--master_addr={environment.get('MASTER_ADDR', '127.0.0.1')}",
        f"--master_port={environment.get('PORT', '29500')}",
    ]


def main(processes: str, *command: str) -> int:
    """Run ``command`` in ``processes`` processes and return the exit status."""
    if not processes.isdigit() or int(processes) < 1:
        print(f"error: the number of GPUs must be 1 or more, got {processes!r}", file=sys.stderr)
        return 2
    if not is_available():  # torchrun would leave all but one core per process idle
        threads = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    elif int(processes) > device_count():
        print(
            f"error: {processes} processes were asked for, but this machine has {device_count()} "
            "GPUs (CUDA_VISIBLE_DEVICES= runs them on the CPU)",
            file=sys.stderr,
        )
        return 1
    try:
        torchrun([*rendezvous(dict(os.environ)), f"--nproc_per_node={processes}", *command])
    except ChildFailedError as error:  # the process has told its own error
        return max(failure.exitcode for failure in error.failures.values()) or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
