"""Random numbers that follow from where a run is, not from how it got there."""

import os
import random

import numpy as np
import torch
from mmengine.config import Config


def seed_all(*position: int) -> None:
    """Seed Python, NumPy and torch, on all devices.

    Seeding again at every iteration and every image is what lets a run be cut and resumed
    anywhere: no state of a generator needs to be kept, of this process or of its data workers.

    Args:
        position: Non-negative numbers that say what the numbers are drawn for, such as the run's
            seed, the process's rank, the iteration and the image.
    """
    # SeedSequence mixes neighbouring positions into unrelated seeds.
    python, numpy, torch_ = np.random.SeedSequence(position).generate_state(3)
    random.seed(int(python))
    np.random.seed(numpy)  # noqa: NPY002  which the mm libraries draw from
    torch.manual_seed(int(torch_))


def use_deterministic_algorithms(cfg: Config) -> None:
    """Make ``cfg`` compute the same weights at every run on the same machine and versions.

    The seed is the config's, or 0. Must come before CUDA is used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS sums in another order else
    given = {key: value for key, value in cfg.get("randomness", {}).items() if value is not None}
    cfg.randomness = {"seed": 0, **given, "deterministic": True}
    cfg.env_cfg = {**cfg.get("env_cfg", {}), "cudnn_benchmark": False}
