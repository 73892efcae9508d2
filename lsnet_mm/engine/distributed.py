"""Distributed training where mmengine alone would not start: CPUs, and too few GPUs."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config

from lsnet_mm.errors import InputError


def set_up_launcher(cfg: Config) -> None:
    """Make ``cfg.launcher`` work on this machine, before the runner is built.

    With GPUs mmengine does the work. Without, processes talk through gloo on CPUs, the model is
    wrapped without a device id, and each process normalises by its own batch: torch synchronises
    BatchNorm statistics on GPUs only.

    Raises:
        InputError: If more processes were started here than there are GPUs, the launcher's
            environment is missing, or the port where the processes meet is in use.
    """
    if cfg.launcher == "none":
        return
    _export_environment(cfg.launcher)
    if torch.cuda.is_available():
        _check_gpus()
        return
    if cfg.launcher == "mpi":
        raise InputError("--launcher mpi needs GPUs: on CPUs use tools/dist_train.sh or Slurm")
    cfg.env_cfg = {**cfg.get("env_cfg", {}), "dist_cfg": {"backend": "gloo"}}
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    _normalise_per_process(cfg.model)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


@contextmanager
def explain_lost_processes() -> Iterator[None]:
    """Put words to the loss of another process of the same run.

    Raises:
        InputError: In place of gloo's or NCCL's ``RuntimeError``.
    """
    try:
        yield
    except RuntimeError as error:
        if not torch.distributed.is_initialized() or not re.search("gloo|NCCL", str(error)):
            raise
        raise InputError(
            f"process {torch.distributed.get_rank()} has lost another, whose own error or whose "
            f"launcher tells why ({str(error).splitlines()[0]})"
        ) from error


def _normalise_per_process(node: Any) -> None:
    """Replace every SyncBN in a model's config by BN, which has the same weights."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        for value in node.values():
            _normalise_per_process(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _normalise_per_process(value)


def _check_gpus() -> None:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise InputError(
            f"{processes} processes were asked for on this machine, but it has {gpus} GPUs: "
            f"start at most {gpus} (or set CUDA_VISIBLE_DEVICES= to train on the CPU)"
        )


def _export_environment(launcher: str) -> None:
    """Give torch.distributed the variables it reads, from those of the launcher."""
    if launcher == "slurm":
        environment = {
            "RANK": _slurm("PROCID"),
            "WORLD_SIZE": _slurm("NTASKS"),
            "LOCAL_RANK": _slurm("LOCALID"),
            "LOCAL_WORLD_SIZE": _tasks_here(_slurm("TASKS_PER_NODE")),
            "MASTER_PORT": os.environ.get("MASTER_PORT") or _job_port(),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _first_host(_node_list()),
        }
        os.environ.update(environment)
        if environment["RANK"] == "0" and not torch.distributed.is_initialized():
            _check_port(environment["MASTER_PORT"])  # torchrun would have opened it already
    elif launcher == "pytorch" and "RANK" not in os.environ:
        raise InputError("--launcher pytorch: start it with tools/dist_train.sh or torchrun")


def _slurm(name: str) -> str:
    name = f"SLURM_{name}"
    if name not in os.environ:
        raise InputError(f"--launcher slurm: {name} is not set: start it with srun")
    return os.environ[name]


def _tasks_here(tasks_per_node: str) -> str:
    """This node's count, e.g. ``1`` on the third node of ``2(x2),1``."""
    counts = []
    for part in tasks_per_node.split(","):
        count, _, nodes = part.rstrip(")").partition("(x")
        counts += [count] * int(nodes or 1)
    return counts[int(os.environ.get("SLURM_NODEID", 0))]


def _job_port() -> str:
    """A port of the job's own, as jobs can share a node; connections take those from 32768 on."""
    job = os.environ.get("SLURM_JOB_ID")
    return str(15000 + int(job) % 15000) if job else "29500"


def _check_port(port: str) -> None:
    try:
        socket.create_server(("", int(port))).close()
    except (OSError, OverflowError, ValueError) as error:
        raise InputError(
            f"port {port} is in use on this machine, or not allowed: set MASTER_PORT to a free one"
        ) from error


def _node_list() -> str:
    """Nodes of this step, which may leave out the job's first."""
    return os.environ.get("SLURM_STEP_NODELIST") or _slurm("JOB_NODELIST")


def _first_host(node_list: str) -> str:
    hosts = subprocess.run(
        ["scontrol", "show", "hostnames", node_list], capture_output=True, text=True, check=True
    )
    return hosts.stdout.split()[0]
