"""LSNetFPN of any arguments against the plain reference."""

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnet_mm.models import LSNetFPN
from tests import golden
from tests.models import plain

OPTIONS = st.fixed_dictionaries(
    dict(
        start_level=st.integers(0, 1),
        add_extra_convs=st.sampled_from([False, "on_input", "on_lateral", "on_output"]),
        relu_before_extra_convs=st.booleans(),
        no_norm_on_lateral=st.booleans(),
        norm_cfg=st.sampled_from([None, dict(type="BN")]),
        act_cfg=st.sampled_from([None, dict(type="ReLU", inplace=False)]),
        num_extra_trans_convs=st.integers(0, 2),
    )
)


@settings(max_examples=60, deadline=None)
@given(
    options=OPTIONS,
    channels=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    coarser=st.integers(0, 2),
    n=st.integers(0, 3),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_values_and_gradients_are_the_references(
    options, channels, coarser, n, height, width, dtype, memory_format
):
    extra = options["num_extra_trans_convs"]
    num_outs = len(channels) - options["start_level"] + coarser + extra
    neck = golden.fill(LSNetFPN(channels, 6, num_outs, **options)).eval()
    neck.to(dtype, memory_format=memory_format)
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(len(channels))]
    inputs = [
        torch.randn(n, c, *size, dtype=dtype).to(memory_format=memory_format).requires_grad_()
        for c, size in zip(channels, sizes, strict=True)
    ]
    got = neck(inputs)
    weights = [torch.randn_like(y) for y in got]
    used = [*inputs, *neck.parameters()]
    gradients = torch.autograd.grad(got, used, weights, materialize_grads=True)

    exact = copy.deepcopy(neck).double()
    inputs, weights = ([t.detach().double() for t in tensors] for tensors in (inputs, weights))
    wanted = plain.fpn(
        exact.state_dict(keep_vars=True), [x.requires_grad_() for x in inputs], num_outs, **options
    )
    used = [*inputs, *exact.parameters()]
    wanted_gradients = torch.autograd.grad(wanted, used, weights, materialize_grads=True)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for a, b in zip((*got, *gradients), (*wanted, *wanted_gradients), strict=True):
        assert a.dtype == dtype
        scale = max(1, b.detach().norm().item())
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * scale)
