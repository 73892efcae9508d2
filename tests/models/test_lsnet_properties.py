"""LSNet of any widths, depths and options: the plain reference, and what holds of every one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsnet_mm.models import LSNet
from tests import golden
from tests.models import plain

WIDTHS = st.sampled_from([8, 16, 24])
NETWORKS = st.fixed_dictionaries(
    dict(
        arch=st.fixed_dictionaries(
            dict(
                channels=st.tuples(*[WIDTHS] * 4),
                depths=st.tuples(*[st.integers(0, 2)] * 3, st.integers(1, 3)),
            )
        ),
        resolution=st.integers(1, 5),
        out_indices=st.sets(st.integers(0, 3), min_size=1).map(sorted).map(tuple),
    )
)
SIZES = st.tuples(st.integers(1, 150), st.integers(1, 150))
FORMATS = st.sampled_from([torch.contiguous_format, torch.channels_last])


def build(options: dict, dtype: torch.dtype = torch.float64) -> LSNet:
    return golden.fill(LSNet(**options)).to(dtype).eval()


def draw(n: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(n, 3, *size, dtype=torch.float64)


def reference(model: LSNet, x: Tensor) -> list[Tensor]:
    """The maps of ``out_indices`` from the weights alone, in their dtype."""
    maps = plain.lsnet(model.state_dict(keep_vars=True), x, model.training)
    return [maps[i] for i in model.out_indices]


@settings(max_examples=20, deadline=None)
@given(
    options=NETWORKS,
    n=st.integers(2, 3),
    size=SIZES,
    memory_format=FORMATS,
    training=st.booleans(),
    with_cp=st.booleans(),
)
def test_values_and_gradients_are_the_references(
    options, n, size, memory_format, training, with_cp
):
    model = build(dict(options, norm_eval=False, with_cp=with_cp)).train(training)
    x = draw(n, size).requires_grad_()
    wanted = reference(model, x)
    used = [x, *model.parameters()]
    weights = [torch.randn_like(y) for y in wanted]
    wanted_gradients = torch.autograd.grad(wanted, used, weights)

    model.to(memory_format=memory_format)
    # A copy in the other format, whose gradient reaches x.
    got = model(x.contiguous(memory_format=memory_format))
    gradients = torch.autograd.grad(got, used, weights)
    for a, b in zip((*got, *gradients), (*wanted, *wanted_gradients), strict=True):
        assert torch.isfinite(b).all()
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7 * max(1, b.abs().max().item()))
    assert all(y.is_contiguous(memory_format=memory_format) for y in got)


@settings(max_examples=20, deadline=None)
@given(
    options=NETWORKS,
    size=SIZES,
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    memory_format=FORMATS,
)
@torch.no_grad()
def test_rounds_no_more_than_the_reference(options, size, dtype, memory_format):
    """Both run in ``dtype``; what that costs the reference bounds what it may cost the network."""
    model, x = build(options, dtype), draw(2, size).to(dtype)
    rounded = reference(model, x)
    got = model.to(memory_format=memory_format)(x.to(memory_format=memory_format))
    assert all(y.dtype == dtype for y in got)
    exact = reference(model.double(), x.double())
    error, bound = (
        sum((y - want).square().sum() for y, want in zip(maps, exact, strict=True)).sqrt()
        for maps in (got, rounded)
    )
    assert error <= 2 * bound


@settings(max_examples=15, deadline=None)
@given(options=NETWORKS, size=SIZES, n=st.integers(2, 4), data=st.data())
@torch.no_grad()
def test_images_of_a_batch_are_independent(options, size, n, data):
    model, x = build(options), draw(n, size)
    chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n))
    for part, whole in zip(model(x[chosen]), model(x), strict=True):
        torch.testing.assert_close(part, whole[chosen], rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(
    options=NETWORKS,
    # oneDNN's bfloat16 gradient of a strided convolution's weights may be anything for maps of 1 or
    # 2 rows and one column, which smaller images come to.
    size=st.tuples(st.integers(33, 150), st.integers(33, 150)),
    n=st.integers(2, 3),
    memory_format=FORMATS,
)
def test_gradients_under_autocast_are_finite(options, size, n, memory_format):
    model = build(dict(options, norm_eval=False), torch.float32).train()
    x = draw(n, size).float().to(memory_format=memory_format).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outs = model(x)
    sum(y.float().square().mean() for y in outs).backward()
    assert all(torch.isfinite(p.grad).all() for p in (x, *model.parameters()))
