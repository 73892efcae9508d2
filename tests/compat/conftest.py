"""What all tests of the stand-in need."""

import sys
from collections.abc import Iterator

import pytest
import torch

from lsnet_mm.compat import install_mmcv_ext

install_mmcv_ext()  # before any test module here imports mmcv.ops

import mmcv.ops  # noqa: E402

from lsnet_mm.benchmark.mmcv_ops import is_compiled, stand_in  # noqa: E402

COMPILED = is_compiled(mmcv._ext)
STAND_IN = stand_in() if COMPILED else mmcv._ext


@pytest.fixture(autouse=COMPILED)
def no_compiled_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mmcv's functions call is the stand-in, also where mmcv is compiled."""
    monkeypatch.setattr(mmcv, "_ext", STAND_IN)
    for name, module in list(sys.modules.items()):
        if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
            monkeypatch.setattr(module, "ext_module", STAND_IN)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: a second thread is nothing but waiting, on a busy machine minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
