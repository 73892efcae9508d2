"""What all tests of the stand-in need."""

from collections.abc import Iterator

import pytest
import torch

from lsnet_mm.compat import install_mmcv_ext

install_mmcv_ext()  # before any test module here imports mmcv.ops


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: a second thread is nothing but waiting, on a busy machine minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
