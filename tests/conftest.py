"""Settings that must be made before torch and Triton are imported, and shared fixtures."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

if not torch.cuda.is_available():  # Triton's kernels then run in its interpreter, on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

import lsnet_mm  # noqa: F401  registers the networks, makes mmcv.ops importable


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that kernels are tested on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
