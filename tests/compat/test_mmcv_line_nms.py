"""``line_nms`` against plain Python loops over lanes and rows."""

import pytest
import torch
from torch import Tensor

from lsnet_mm.compat.line_nms import line_nms_forward as line_nms

ROWS = 9


def random_lanes(count: int) -> Tensor:
    """Lanes of some rows from some row on, the last ones from outside, one of them of none."""
    lanes = torch.zeros(count, 5 + ROWS)
    lanes[:, 2] = torch.randint(0, ROWS, (count,)) / (ROWS - 1)
    lanes[:, 4] = torch.randint(1, ROWS, (count,)) + 0.3
    lanes[:, 5:] = 20 * torch.rand(count, 1) + torch.rand(count, ROWS)
    lanes[-4:, 2] = -0.5
    lanes[0, 4] = 0
    return lanes


def close(one: list[float], other: list[float], threshold: float) -> bool:
    starts = [int(lane[2] * (ROWS - 1) + 0.5) for lane in (one, other)]
    ends = [start + int(lane[4]) - 1 for start, lane in zip(starts, (one, other), strict=True)]
    rows = range(max(starts), min(*ends, ROWS - 1) + 1)
    if not rows or rows[0] < 0:
        return False
    return sum(abs(one[5 + i] - other[5 + i]) for i in rows) < threshold * len(rows)


@pytest.mark.parametrize("top_k", [40, 5])
@pytest.mark.parametrize("threshold", [1.0, 4.0])
def test_line_nms(threshold, top_k):
    lanes, scores = random_lanes(40), torch.randperm(40) / 40
    kept, parents = [], [0] * 40
    for i in scores.argsort(descending=True).tolist():
        if len(kept) < top_k and not parents[i]:
            kept.append(i)
            for j in range(40):
                if not parents[j] and (j == i or close(lanes[i], lanes[j], threshold)):
                    parents[j] = len(kept)
    keep, count, parent = line_nms(lanes, scores, threshold, top_k)
    assert keep[:count].tolist() == kept
    assert not keep[count:].any()
    assert parent.tolist() == parents
    assert 1 < len(kept) < 40


def test_no_lanes():
    keep, count, parent = line_nms(torch.zeros(0, 5 + ROWS), torch.zeros(0), 1.0, 4)
    assert (keep.shape, count.item(), parent.shape) == ((0,), 0, (0,))
