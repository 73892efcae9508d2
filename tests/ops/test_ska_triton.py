"""The Triton kernels against the portable path: compiled on a GPU, else in Triton's interpreter."""

import subprocess
import sys

import pytest
import torch

from lsnet_mm.ops import ska_portable
from tests.ops.test_ska import operands, reference

ska_triton = pytest.importorskip("lsnet_mm.ops.ska_triton", reason="Triton is not installed")

CASES = [
    dict(n=2, c=16, height=5, width=7),
    dict(n=1, c=24, height=13, width=11),
    dict(n=2, c=6, height=3, width=4, per_set=3),
    dict(n=1, c=8, height=1, width=9),
    dict(n=1, c=8, height=9, width=1),
    dict(n=1, c=4, height=6, width=6, per_set=1, size=5),
    dict(n=1, c=8, height=2, width=2, size=7),
]
FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_matches_the_portable_path(case, memory_format, dtype, device):
    x, w = operands(**case, dtype=dtype, device=device)
    x = x.to(memory_format=memory_format)
    grad = torch.randn_like(x)
    got = (ska_triton.forward(x, w), *ska_triton.backward(grad, x, w))
    want = (ska_portable.forward(x, w), *ska_portable.backward(grad, x, w))
    for g, expected in zip(got, want, strict=True):
        assert g.stride() == expected.stride()
        torch.testing.assert_close(g, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtypes", [(torch.float16,) * 2, (torch.bfloat16, torch.float32)])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_half_precision_sums_in_float32(dtypes, memory_format, device):
    x, w = (t.to(d) for t, d in zip(operands(device=device, size=5), dtypes, strict=True))
    x = x.to(memory_format=memory_format)
    y = ska_triton.forward(x, w)
    assert y.dtype == x.dtype
    unit = torch.finfo(x.dtype).eps
    torch.testing.assert_close(y.double(), reference(x, w), rtol=unit, atol=4 * unit)
    grad = torch.randn_like(x)
    for g, expected in zip(
        ska_triton.backward(grad, x, w), ska_portable.backward(grad, x, w), strict=True
    ):
        assert g.dtype == expected.dtype
        torch.testing.assert_close(g, expected, rtol=2 * unit, atol=4 * unit)


def test_writes_every_element(device):
    """A tile that ends past the map must neither leave outputs unwritten nor write beyond them."""
    x, w = operands(1, 40, 9, 15, device=device)
    torch.empty(x.numel(), device=device).fill_(float("nan"))
    y = ska_triton.forward(x, w)
    grads = ska_triton.backward(y, x, w)
    assert all(torch.isfinite(t).all() for t in (y, *grads))


def test_empty_batch(device):
    x, w = operands(n=0, device=device)
    assert ska_triton.forward(x, w).shape == x.shape
    assert [t.shape for t in ska_triton.backward(x, x, w)] == [x.shape, w.shape]


COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lsnet_mm.ops import ska_triton

constants = dict(PER_SET=8, PER_SET_TILE=8, SIZE=3, TILE_SETS=1, TILE_POSITIONS=128,
                 DTYPE=tl.float32)
for kernel, tensors, weight_loads in ((ska_triton._forward_kernel, 3, 9),
                                      (ska_triton._backward_kernel, 5, 9)):
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else "*bf16" if i < tensors else "i32"
                 for i, n in enumerate(names)}
    for capability in (80, 90):
        compiled = triton.compile(ASTSource(kernel, signature, constants),
                                  target=GPUTarget("cuda", capability, 32))
        loads = compiled.asm["ptx"].count("ld.global")
        # One position per thread: 8 channels x 9 taps of features (twice and once more going
        # back), but each weight once for all eight channels.
        features = 8 * 9 if tensors == 3 else 8 * (9 + 9 + 1)
        assert loads == features + weight_loads, (kernel, loads)
"""


def test_compiles_for_gpus_reading_each_weight_once():
    """Ahead of time, for A100 and H100: no GPU is needed to see what the compiler makes of it."""
    import os

    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", COMPILE], check=True, env=environment)
