"""The attention bias: what it is resized to, when it is computed, and that it stays bounded."""

import itertools
from unittest import mock

import pytest
import torch
from torch.nn import functional as F

from lsnet_mm.models.attention import BIASES_KEPT, BYTES_KEPT, Attention
from tests import golden


def attention(resolution: int = 5) -> Attention:
    return golden.fill(Attention(dim=32, key_dim=16, num_heads=4, resolution=resolution)).eval()


@pytest.mark.parametrize("resolution", [1, 3, 4, 14])
def test_distances_are_indexed_in_order_of_first_occurrence(resolution):
    points = list(itertools.product(range(resolution), repeat=2))
    order: dict[tuple[int, int], int] = {}
    indices = [
        order.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(order))
        for a in points
        for b in points
    ]
    got = Attention(32, 16, 4, resolution).attention_bias_idxs
    assert got.flatten().tolist() == indices


def test_equals_attention_written_out():
    """Scores, bias, softmax and sum by hand, in float64."""
    layer = attention().double()
    x = torch.randn(2, 32, 3, 6, dtype=torch.float64)
    q, k, v = layer.qkv(x).split([64, 64, 32], dim=1)
    q = layer.dw(q)
    q, k, v = (t.reshape(2, 4, -1, 18) for t in (q, k, v))
    scores = torch.einsum("ncdi,ncdj->ncij", q, k) * 16**-0.5
    matrix = layer.attention_biases[:, layer.attention_bias_idxs]
    scores = scores + F.interpolate(matrix[None], size=(18, 18), mode="bicubic")
    out = torch.einsum("ncij,ncdj->ncdi", scores.softmax(-1), v).reshape(2, 32, 3, 6)
    torch.testing.assert_close(layer(x), layer.proj(out))


def test_bias_of_the_tables_own_grid_is_the_table():
    layer = attention(resolution=4)
    matrix = layer.attention_biases[:, layer.attention_bias_idxs]
    torch.testing.assert_close(layer.bias(4, 4)[0], matrix, rtol=0, atol=0)


def test_bias_is_computed_once_for_a_size():
    layer = attention()
    with mock.patch.object(layer, "_resized_bias", wraps=layer._resized_bias) as resize:
        with torch.no_grad():
            for height, width in ((3, 4), (3, 4), (2, 2), (3, 4)):
                layer(torch.randn(1, 32, height, width))
        assert resize.call_count == 2


def test_kept_biases_follow_the_table():
    layer = attention()
    with torch.no_grad():
        before = layer.bias(3, 3)
        layer.attention_biases.mul_(2)
        torch.testing.assert_close(layer.bias(3, 3), 2 * before)
        layer.load_state_dict({k: v * 0 for k, v in layer.state_dict().items()})
        assert not layer.bias(3, 3).any()
        # Averaged weights are swapped in behind autograd's back, followed by eval().
        layer.attention_biases.data.fill_(1)
        torch.testing.assert_close(layer.eval().bias(3, 3), torch.ones(1, 4, 9, 9))
        assert layer.double().bias(3, 3).dtype == torch.float64


def test_kept_biases_are_bounded():
    layer = attention()
    with torch.no_grad():
        for width in range(1, 3 * BIASES_KEPT):
            layer.bias(1, width)
    assert len(layer._biases) == BIASES_KEPT


def test_kept_biases_are_bounded_in_bytes():
    layer = attention()
    with torch.no_grad():
        layer.bias(1, 2)
        large = [layer.bias(26, 26 + i) for i in range(5)]  # of 7 to 9 MiB
        assert sum(b.nbytes for b in large) > BYTES_KEPT - large[0].nbytes
        kept = list(layer._biases.values())
        assert sum(b.nbytes for b in kept) <= BYTES_KEPT
        assert [b.shape for b in kept] == [b.shape for b in large[-len(kept) :]]
        assert len(kept) == 3
        assert layer.bias(40, 40).shape == (1, 4, 1600, 1600)  # of 39 MiB: more than may be kept
        assert not layer._biases


def test_bias_learns_in_training_and_in_eval_with_gradients():
    for layer in (attention().train(), attention()):
        layer(torch.randn(2, 32, 3, 4)).sum().backward()
        assert layer.attention_biases.grad.abs().sum() > 0


def test_works_under_inference_mode():
    layer, x = attention(), torch.randn(1, 32, 3, 4)
    with torch.no_grad():
        want = layer(x)
    with torch.inference_mode():
        torch.testing.assert_close(attention()(x), want)
    torch.testing.assert_close(layer(x), want)
