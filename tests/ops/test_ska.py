"""The portable path and the operator's registration, on whatever device there is."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lsnet_mm.ops import SKA, ska
from tests import golden

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def reference(x: Tensor, w: Tensor) -> Tensor:
    """SKA by unfolding, in float64: every neighbourhood copied out, then multiplied and summed."""
    n, c, height, width = x.shape
    sets, taps = w.shape[1:3]
    size = round(taps**0.5)
    patches = F.unfold(x.double(), size, padding=size // 2)
    patches = patches.view(n, c // sets, sets, taps, height, width)
    return (patches * w.double()[:, None]).sum(3).reshape(x.shape)


def operands(n=2, c=16, height=5, width=7, per_set=8, size=3, dtype=torch.float32, device="cpu"):
    x = torch.randn(n, c, height, width, dtype=torch.float64, device=device).to(dtype)
    w = torch.randn(n, c // per_set, size**2, height, width, dtype=torch.float64, device=device)
    return x, w.to(dtype)


@pytest.mark.parametrize("case", "abc")
def test_matches_the_authors_numbers(case):
    g = {k.removeprefix(f"{case}/"): torch.from_numpy(v) for k, v in golden.load("ska").items()}
    x, w = g["x"].requires_grad_(), g["w"].requires_grad_()
    y = ska(x, w)
    y.backward(g["grad_y"])
    for got, want in ((y, g["y"]), (x.grad, g["grad_x"]), (w.grad, g["grad_w"])):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    sets=st.integers(1, 3),
    per_set=st.sampled_from([1, 3, 8]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    size=st.sampled_from([1, 3, 5, 7]),
    dtypes=st.tuples(*[st.sampled_from(list(TOLERANCE))] * 2),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_matches_unfold(n, sets, per_set, height, width, size, dtypes, memory_format):
    x, w = operands(n, sets * per_set, height, width, per_set, size)
    x = x.to(dtypes[0], memory_format=memory_format).requires_grad_()
    w = w.to(dtypes[1]).requires_grad_()
    y = ska(x, w)
    assert y.dtype == x.dtype
    assert y.stride() == torch.empty_like(x).stride()
    grad = torch.randn_like(y)
    got = (y, *torch.autograd.grad(y, (x, w), grad))
    want = reference(x, w)
    want = (want, *torch.autograd.grad(want, (x, w), grad.double()))
    for a, b in zip(got, want, strict=True):
        tolerance = TOLERANCE[a.dtype]
        torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance * 4)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradients(size):
    x, w = operands(1, 4, 3, 4, per_set=2, size=size, dtype=torch.float64)
    inputs = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(ska, inputs)


def test_second_order_gradients():
    x, w = operands(1, 4, 2, 3, per_set=2, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(ska, (x.requires_grad_(), w.requires_grad_()))


@pytest.mark.parametrize("dtypes", [(torch.float16,) * 2, (torch.bfloat16, torch.float32)])
def test_half_precision_gradients_are_those_of_float64(dtypes):
    x, w = (t.to(d).requires_grad_() for t, d in zip(operands(), dtypes, strict=True))
    grad = torch.randn(x.shape).to(x.dtype)
    got = torch.autograd.grad(ska(x, w), (x, w), grad)
    exact = tuple(t.detach().double().requires_grad_() for t in (x, w))
    want = torch.autograd.grad(reference(*exact), exact, grad.double())
    for g, expected, dtype in zip(got, want, dtypes, strict=True):
        assert g.dtype == dtype
        tolerance = TOLERANCE[dtypes[0]]
        torch.testing.assert_close(g.double(), expected, rtol=tolerance, atol=4 * tolerance)


def test_half_precision_sums_in_float32():
    """49 products of 1/16 and 1 lose whole units if summed in bfloat16's 8 bits."""
    x = torch.full((1, 8, 7, 7), 16.0, dtype=torch.bfloat16)
    w = torch.full((1, 1, 49, 7, 7), 1.0, dtype=torch.bfloat16)
    w[:, :, 0] = 0.0625
    y = ska(x, w)[0, 0, 3, 3]
    assert y == torch.tensor(48 * 16.0 + 1, dtype=torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_opcheck(dtype, memory_format):
    x, w = operands(dtype=dtype)
    x = x.to(memory_format=memory_format).requires_grad_()
    args = (x, w.float().requires_grad_())
    torch.library.opcheck(torch.ops.lsnet_mm.ska.default, args)
    grad = torch.randn(x.shape).to(x.dtype)
    torch.library.opcheck(torch.ops.lsnet_mm.ska_backward.default, (grad, *args))


def test_compiles_whole_with_dynamic_shapes():
    def layer(x, w):
        return ska(x.relu(), w * 2) + x

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, width, n in ((5, 7, 2), (6, 4, 3), (9, 9, 2)):
        x, w = (t.requires_grad_() for t in operands(n, height=height, width=width))
        got, want = compiled(x, w), layer(x, w)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), (x, w)), torch.autograd.grad(want.sum(), (x, w))
        )


def test_exports_as_one_op():
    program = torch.export.export(SKA(), operands())
    calls = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert calls == [torch.ops.lsnet_mm.ska.default]


def test_autocast_leaves_operands_as_they_are():
    x, w = operands()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ska(x.bfloat16(), w)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.double(), reference(x.bfloat16(), w), rtol=1.6e-2, atol=6.4e-2)


def test_empty_batch():
    x, w = (t.requires_grad_() for t in operands(n=0))
    y = ska(x, w)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert w.grad.shape == w.shape


def test_strided_operands():
    x, w = operands(2, 16, 10, 14)
    x, w = x[:, :, ::2, ::2], w[..., ::2, ::2]
    torch.testing.assert_close(ska(x, w).double(), reference(x, w), rtol=1e-5, atol=1e-5)


GOOD = operands()


@pytest.mark.parametrize(
    ("x", "w", "error", "message"),
    [
        (GOOD[0].int(), GOOD[1], TypeError, "x must be a floating-point tensor, got torch.int32"),
        (GOOD[0], None, TypeError, "w must be a floating-point tensor, got NoneType"),
        (GOOD[0][0], GOOD[1], ValueError, "x must be (N, C, H, W)"),
        (GOOD[0][:, :, :0], GOOD[1], ValueError, "x must be (N, C, H, W) with C, H, W >= 1"),
        (GOOD[0], GOOD[1][0], ValueError, "w must be (N, S, K * K, H, W)"),
        (GOOD[0], GOOD[1][..., 1:], ValueError, "w must have the N, H, W of x"),
        (GOOD[0], GOOD[1][:, :, :4], ValueError, "K odd (1, 9, 25, ...), got 4"),
        (GOOD[0], GOOD[1][:, :, :8], ValueError, "K odd (1, 9, 25, ...), got 8"),
        (GOOD[0][:, :15], GOOD[1], ValueError, "2 weight sets, which do not divide the 15"),
        (GOOD[0], GOOD[1].to("meta"), ValueError, "w must be on the device of x, cpu, got meta"),
    ],
)
def test_errors_name_the_argument(x, w, error, message):
    with pytest.raises(error) as raised:
        ska(x, w)
    assert message in str(raised.value)


def test_needs_neither_triton_nor_mm():
    """The operator imports and runs where Triton is absent, and without the package's networks."""
    code = """
import sys, importlib.util, torch
sys.modules["triton"] = None
spec = importlib.util.spec_from_file_location("ops", sys.argv[1], submodule_search_locations=[])
ops = importlib.util.module_from_spec(spec)
ops.__path__ = [sys.argv[1].rsplit("/", 1)[0]]
sys.modules["ops"] = ops
spec.loader.exec_module(ops)
assert ops.ska(torch.ones(1, 8, 3, 3), torch.ones(1, 1, 9, 3, 3))[0, 0, 1, 1] == 9
from ops.ska import _gpu_kernels
assert _gpu_kernels().__name__ == "ops.ska_portable"
assert "mmengine" not in sys.modules
"""
    import lsnet_mm.ops

    subprocess.run([sys.executable, "-c", code, lsnet_mm.ops.__file__], check=True)
