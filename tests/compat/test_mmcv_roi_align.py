"""``RoIAlign`` against plain Python loops over bins, samples and cells."""

import math

import mmcv._ext
import pytest
import torch
from mmcv.ops import RoIAlign
from torch import Tensor
from torch.autograd import gradcheck

from .by_hand import sample

# On a 7 x 9 map of two images. Numbers are multiples of 1/4, exact in half precision too, and no
# sample falls on the edge where samples begin to count as 0.
ROIS = [
    [0, 1.25, 0.75, 6.5, 5.25],
    [1, -2.25, -3.75, 4.25, 3.5],  # starts left of and above the map
    [1, 5.5, 4.25, 13.75, 11.5],  # ends right of and below it
    [0, 30.25, 2.5, 38.5, 6.25],  # beside it
    [1, -3.5, -4.25, 14.75, 12.5],  # all around it
    [0, 3.25, 2.5, 3.5, 2.75],  # a fraction of a cell
]
WITHOUT_AREA = [0, 3.25, 2.5, 3.25, 2.5]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    return features.to(dtype), torch.tensor(ROIS, dtype=dtype)


def sample_positions(roi, bins, scale, ratio, aligned) -> list[list[list[tuple[float, float]]]]:
    """The (y, x) of a RoI's samples, in order, by row and column of bins."""
    shift = 0.5 if aligned else 0
    x1, y1, x2, y2 = (edge * scale - shift for edge in roi[1:])
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1), max(width, 1)
    step_y, step_x = height / bins[0], width / bins[1]
    rows, columns = ratio or math.ceil(step_y), ratio or math.ceil(step_x)
    return [
        [
            [
                (y1 + (i + (r + 0.5) / rows) * step_y, x1 + (j + (c + 0.5) / columns) * step_x)
                for r in range(rows)
                for c in range(columns)
            ]
            for j in range(bins[1])
        ]
        for i in range(bins[0])
    ]


def roi_align_by_hand(features: Tensor, rois: Tensor, bins, scale, ratio, aligned, mode):
    """Pooled values and, in max mode, the (y, x) of the greatest samples; float64."""
    shape = (len(rois), features.shape[1], *bins)
    pooled = torch.zeros(shape, dtype=torch.float64)
    where = torch.full((2, *shape), -1, dtype=torch.float64)
    for r, roi in enumerate(rois.tolist()):
        positions = sample_positions(roi, bins, scale, ratio, aligned)
        for c, plane in enumerate(features[int(roi[0])].tolist()):
            for i in range(bins[0]):
                for j in range(bins[1]):
                    values = [sample(plane, y, x) for y, x in positions[i][j]]
                    if not values:
                        continue
                    best = values.index(max(values))
                    pooled[r, c, i, j] = max(values) if mode == "max" else sum(values) / len(values)
                    where[:, r, c, i, j] = torch.tensor(positions[i][j][best])
    return pooled, where


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(("bins", "scale"), [((2, 2), 1.0), ((3, 1), 0.5), ((1, 4), 1.0)])
def test_forward(bins, scale, ratio, aligned, mode):
    for dtype in (torch.float64, torch.float32):
        features, rois = inputs(dtype)
        expected, _ = roi_align_by_hand(features, rois, bins, scale, ratio, aligned, mode)
        output = RoIAlign(bins, scale, ratio, mode, aligned)(features, rois)
        torch.testing.assert_close(output, expected.to(dtype))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_argmax(ratio, aligned):
    features, rois = inputs()
    rois = torch.cat([rois, rois.new_tensor([WITHOUT_AREA])])
    output, y, x = (torch.empty(7, 3, 3, 2, dtype=torch.float64) for _ in range(3))
    mmcv._ext.roi_align_forward(
        features,
        rois,
        output,
        y,
        x,
        aligned_height=3,
        aligned_width=2,
        spatial_scale=1.0,
        sampling_ratio=ratio,
        pool_mode=0,
        aligned=aligned,
    )
    pooled, where = roi_align_by_hand(features, rois, (3, 2), 1.0, ratio, aligned, "max")
    torch.testing.assert_close(output, pooled)
    torch.testing.assert_close(torch.stack([y, x]), where)
    assert (y[-1] == -1).all() == (ratio == 0 and aligned)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(dtype, mode):
    features, rois = inputs(dtype)
    features.requires_grad_()
    expected, _ = roi_align_by_hand(features, rois, (2, 2), 1.0, 2, True, mode)
    output = RoIAlign((2, 2), 1.0, 2, mode)(features, rois)
    assert output.dtype == dtype
    # Half a unit in the last place, and float32's error where a sum cancels.
    torch.testing.assert_close(
        output.double(), expected, rtol=torch.finfo(dtype).eps / 2, atol=1e-6
    )

    # Gradients: the same in float64, for positions of samples are exact in every dtype here.
    exact = features.detach().double().requires_grad_()
    weight = torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype)
    (RoIAlign((2, 2), 1.0, 2, mode)(exact, rois.double()) * weight.double()).sum().backward()
    (output * weight).sum().backward()
    torch.testing.assert_close(
        features.grad.double(), exact.grad, rtol=torch.finfo(dtype).eps / 2, atol=1e-6
    )


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_gradient(ratio, aligned, mode):
    features, rois = inputs()
    align = RoIAlign((2, 3), 1.0, ratio, mode, aligned)
    assert gradcheck(lambda x: align(x, rois), features.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_gradient_of_strided_tensors(mode):
    features, rois = inputs()
    align = RoIAlign((2, 3), 1.0, 0, mode)
    weight = torch.randn(6, 2, 3, 3, dtype=torch.float64)
    grads = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = features.to(memory_format=memory_format, copy=True).requires_grad_()
        # The product's gradient reaches RoIAlign as a view that is not contiguous.
        (align(x, rois).permute(0, 2, 3, 1) * weight).sum().backward()
        grads.append(x.grad)
    align(features.requires_grad_(), rois).backward(weight.permute(0, 3, 1, 2).contiguous())
    for grad in grads:
        torch.testing.assert_close(grad, features.grad)


def test_sample_at_minus_one_has_a_gradient():
    # One sample at y = -1, where the border row still counts; mmcv's argmax is -1 there.
    features = torch.arange(6.0).view(1, 1, 2, 3).requires_grad_()
    output = RoIAlign(1, 1.0, 1, "max", aligned=False)(
        features, torch.tensor([[0.0, 0.5, -1.5, 1.5, -0.5]])
    )
    output.backward(torch.ones_like(output))
    assert output.item() == 1
    assert features.grad.flatten().tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_without_area_gives_zeros(mode):
    features = inputs()[0].requires_grad_()
    output = RoIAlign(2, 1.0, 0, mode)(features, torch.tensor([WITHOUT_AREA], dtype=torch.float64))
    output.sum().backward()
    assert not output.any()
    assert not features.grad.any()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_no_rois(mode):
    features = inputs()[0].requires_grad_()
    output = RoIAlign((2, 3), 1.0, 0, mode)(features, torch.zeros(0, 5, dtype=torch.float64))
    output.sum().backward()
    assert output.shape == (0, 3, 2, 3)
    assert not features.grad.any()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_autocast_does_not_lower_the_precision(mode):
    features, rois = inputs(torch.float32)
    align = RoIAlign((2, 2), 1.0, 0, mode)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = align(features, rois)
    assert torch.equal(output, align(features, rois))
