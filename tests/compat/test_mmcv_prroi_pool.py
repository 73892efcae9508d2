"""``PrRoIPool`` against numerical integration."""

import mmcv._ext
import pytest
import torch
from mmcv.ops import PrRoIPool
from torch import Tensor
from torch.autograd import Function, gradcheck
from torch.nn.functional import grid_sample, pad

ROIS = [  # on a 5 x 6 map of two images
    [0, 0.3, 0.7, 4.4, 3.2],
    [1, -2.3, -3.8, 4.2, 3.4],  # reaches over the border
    [0, 2.3, 1.6, 2.4, 1.8],  # a fraction of a cell
    [0, 20.3, 1.6, 22.4, 1.8],  # beside the map
    [1, 2.0, 1.0, 2.0, 3.0],  # no width
]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    return features.to(dtype), torch.tensor(ROIS, dtype=dtype)


def integrate(features: Tensor, rois: Tensor, bins: tuple[int, int], scale: float) -> Tensor:
    """Means of 200 x 200 points per bin of the map with zeros around it."""
    fine, around = 200, 10
    height, width = (n + 2 * around for n in features.shape[2:])
    wide, outputs = pad(features, [around] * 4), []
    for image, x1, y1, x2, y2 in rois.tolist():
        steps = [(torch.arange(n * fine, dtype=torch.float64) + 0.5) / (n * fine) for n in bins]
        y, x = (y1 + steps[0] * (y2 - y1)) * scale, (x1 + steps[1] * (x2 - x1)) * scale
        y, x = 2 * (y + around) / (height - 1) - 1, 2 * (x + around) / (width - 1) - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        found = grid_sample(wide[int(image), None], grid[None], align_corners=True)[0]
        means = found.unflatten(2, (bins[1], fine)).unflatten(1, (bins[0], fine)).mean((2, 4))
        outputs.append(means if x2 > x1 and y2 > y1 else torch.zeros_like(means))
    return torch.stack(outputs)


class InFloat64(Function):
    """mmcv's function, which takes float32 only, without that check."""

    @staticmethod
    def forward(ctx, features, rois):
        ctx.save_for_backward(features, rois)
        output = features.new_full((len(rois), features.shape[1], 2, 3), 7)
        mmcv._ext.prroi_pool_forward(features, rois, output, 2, 3, 0.8)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        features, rois = ctx.saved_tensors
        grads = torch.zeros_like(features), torch.zeros_like(rois)
        mmcv._ext.prroi_pool_backward(grad_output, rois, grads[0], 2, 3, 0.8)
        mmcv._ext.prroi_pool_coor_backward(
            grad_output, grad_output, features, rois, grads[1], 2, 3, 0.8
        )
        return grads


@pytest.mark.parametrize(("bins", "scale"), [((2, 2), 1.0), ((3, 1), 0.5)])
def test_forward(bins, scale):
    features, rois = inputs()
    expected = integrate(features, rois, bins, scale).float()
    layer, tensors = PrRoIPool(bins, scale), (features.float(), rois.float())
    torch.testing.assert_close(layer(*tensors), expected, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(*tensors), expected, rtol=1e-3, atol=1e-3)


def test_gradient():
    features, rois = inputs()
    features.requires_grad_()
    # Not of the RoI without width: its pooled values jump.
    boxes = rois[:4, 1:].clone().requires_grad_()
    assert gradcheck(
        lambda x, box: InFloat64.apply(x, torch.cat([rois[:4, :1], box], dim=1)),
        (features, boxes),
        fast_mode=True,
    )


def test_no_rois_and_no_area():
    features, rois = inputs(torch.float32)
    features.requires_grad_()
    for some in (rois[:0], rois[-1:].requires_grad_()):
        output = PrRoIPool((2, 3))(features, some)
        output.sum().backward()
        assert output.shape == (len(some), 3, 2, 3)
        assert not output.any()
        assert not features.grad.any()
    assert not some.grad.any()
