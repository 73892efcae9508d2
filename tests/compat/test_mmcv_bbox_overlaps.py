"""``bbox_overlaps`` against torchvision and counted pixels."""

import pytest
import torch
from mmcv.ops import bbox_overlaps
from torch import Tensor
from torchvision.ops import box_iou


def boxes(count: int, seed: int) -> Tensor:
    """Boxes whose corners are whole numbers from 0 to 10, at least a pixel wide and high."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 6, (count, 2), generator=generator)
    size = torch.randint(1, 5, (count, 2), generator=generator)
    return torch.cat([low, low + size], dim=1).double()


def pixels(box: Tensor, offset: int) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box.int().tolist()
    return {(x, y) for x in range(x1, x2 + offset) for y in range(y1, y2 + offset)}


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_every_pair(mode, offset):
    first, second = boxes(8, 0), boxes(5, 1)
    expected = torch.zeros(8, 5, dtype=torch.float64)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            one, other = pixels(a, offset), pixels(b, offset)
            whole = one | other if mode == "iou" else one
            expected[i, j] = len(one & other) / len(whole)
    torch.testing.assert_close(bbox_overlaps(first, second, mode, offset=offset), expected)
    pairs = bbox_overlaps(first[:5], second, mode, aligned=True, offset=offset)
    torch.testing.assert_close(pairs, expected.diagonal())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes(dtype):
    first, second = boxes(8, 0).to(dtype), boxes(5, 1).to(dtype)
    overlaps = bbox_overlaps(first, second)
    assert overlaps.dtype == dtype
    torch.testing.assert_close(overlaps, box_iou(first.float(), second.float()).to(dtype))


def test_no_boxes():
    assert bbox_overlaps(boxes(3, 0), torch.zeros(0, 4)).shape == (3, 0)
    assert bbox_overlaps(torch.zeros(0), torch.zeros(0), aligned=True).shape == (0,)
