"""Distributed training where mmengine alone would not start: CPUs, and too few GPUs."""

import os
import subprocess

import torch
from mmengine.config import Config

from lsnet_mm.errors import InputError


def set_up_launcher(cfg: Config) -> None:
    """Make ``cfg.launcher`` work on this machine, before the runner is built.

    With GPUs mmengine does the work. Without, processes talk through gloo on CPUs, and the model
    is wrapped without a device id.

    Raises:
        InputError: If more processes were started here than there are GPUs, or the launcher's
            environment is missing.
    """
    if cfg.launcher == "none":
        return
    _export_environment(cfg.launcher)
    if torch.cuda.is_available():
        _check_gpus()
        return
    cfg.env_cfg = {**cfg.get("env_cfg", {}), "dist_cfg": {"backend": "gloo"}}
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


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
            "LOCAL_WORLD_SIZE": _slurm("TASKS_PER_NODE").split("(")[0].split(",")[0],
            "MASTER_PORT": os.environ.get("MASTER_PORT", "29500"),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _first_host(_slurm("JOB_NODELIST")),
        }
        os.environ.update(environment)
    elif launcher == "pytorch" and "RANK" not in os.environ:
        raise InputError("--launcher pytorch: start it with tools/dist_train.sh or torchrun")


def _slurm(name: str) -> str:
    name = f"SLURM_{name}"
    if name not in os.environ:
        raise InputError(f"--launcher slurm: {name} is not set: start it with srun")
    return os.environ[name]


def _first_host(node_list: str) -> str:
    hosts = subprocess.run(
        ["scontrol", "show", "hostnames", node_list], capture_output=True, text=True, check=True
    )
    return hosts.stdout.split()[0]
