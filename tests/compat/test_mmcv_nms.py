"""``nms``, ``soft_nms``, ``nms_match`` and ``batched_nms`` against plain Python loops."""

import math

import mmcv._ext
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms
from torch import Tensor

TOUCHING = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1]])
IOU_3_OF_5 = torch.tensor([[0.0, 0, 4, 1], [1, 0, 5, 1]])


def random_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes of 1 to 9 pixels in a 20-pixel image, so that most overlap some; scores all differ."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 12
    size = 1 + torch.rand(count, 2, generator=generator) * 8
    scores = (torch.randperm(count, generator=generator) + 1) / (count + 1)
    return torch.cat([corner, corner + size], dim=1), scores


def iou(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def nms_by_hand(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    boxes, scores = boxes.tolist(), scores.tolist()
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def soft_nms_by_hand(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    sigma: float,
    min_score: float,
    method: str,
    offset: int,
) -> tuple[list[int], list[float]]:
    boxes, scores = boxes.tolist(), scores.tolist()
    left, kept = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: (scores[i], -i))
        kept.append(best)
        left.remove(best)
        for i in left:
            overlap = iou(boxes[best], boxes[i], offset)
            if method == "gaussian":
                scores[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == "linear" else 0
        left = [i for i in left if scores[i] >= min_score]
    return kept, [scores[i] for i in kept]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 7, 80])
def test_nms(count, threshold, offset):
    boxes, scores = random_boxes(count, seed=count)
    dets, kept = nms(boxes, scores, threshold, offset=offset)
    assert kept.tolist() == nms_by_hand(boxes, scores, threshold, offset)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_nms_offset_makes_touching_boxes_overlap():
    scores = torch.tensor([0.5, 0.9])
    assert nms(TOUCHING, scores, 0.3, offset=0)[1].tolist() == [1, 0]
    assert nms(TOUCHING, scores, 0.3, offset=1)[1].tolist() == [1]  # IoU 2 / 6


def test_nms_keeps_a_box_at_the_threshold():
    scores = torch.tensor([0.9, 0.5])
    assert nms(IOU_3_OF_5, scores, 0.6)[1].tolist() == [0, 1]
    assert nms(IOU_3_OF_5, scores, 0.599)[1].tolist() == [0]


def test_nms_leaves_equal_scores_in_order():
    boxes = torch.tensor([[10.0 * i, 0, 10 * i + 5, 5] for i in range(50)])
    assert nms(boxes, torch.full((50,), 0.5), 0.5)[1].tolist() == list(range(50))


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nms_dtypes(dtype, offset):
    boxes, scores = random_boxes(40, seed=1)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    dets, kept = nms(boxes, scores, 0.45, offset=offset)
    assert kept.tolist() == nms_by_hand(boxes, scores, 0.45, offset)
    assert dets.dtype == dtype


def test_nms_mixed_dtypes():
    boxes, scores = random_boxes(40, seed=1)
    kept = mmcv._ext.nms(boxes.half(), scores, iou_threshold=0.45, offset=0)
    assert kept.tolist() == nms_by_hand(boxes.half(), scores, 0.45, 0)


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_of_nothing(offset):
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, offset=offset)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_nms_of_arrays():
    boxes, scores = random_boxes(20, seed=2)
    dets, kept = nms(boxes.numpy(), scores.numpy(), 0.4)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == nms_by_hand(boxes, scores, 0.4, 0)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("min_score", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("count", [1, 6, 40])
def test_soft_nms(count, method, min_score, offset):
    boxes, scores = random_boxes(count, seed=10 + count)
    before = boxes.clone(), scores.clone()
    dets, kept = soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    expected = soft_nms_by_hand(boxes, scores, 0.3, 0.5, min_score, method, offset)
    assert kept.tolist() == expected[0]
    assert torch.equal(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor(expected[1]))
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_nms_half_precision(dtype):
    boxes, scores = (tensor.to(dtype) for tensor in random_boxes(12, seed=3))
    dets, kept = soft_nms(boxes, scores, 0.3, method="linear")
    indices, lowered = soft_nms_by_hand(boxes, scores, 0.3, 0.5, 1e-3, "linear", 0)
    assert kept.tolist() == indices
    # The scores are lowered in float32 and rounded once.
    torch.testing.assert_close(
        dets[:, 4].double(), torch.tensor(lowered).double(), rtol=torch.finfo(dtype).eps, atol=0
    )


def test_soft_nms_touches_a_box_at_the_threshold():
    scores = torch.tensor([0.9, 0.5])
    at, above = (soft_nms(IOU_3_OF_5, scores, t, method="linear")[0] for t in (0.6, 0.601))
    torch.testing.assert_close(at[:, 4], torch.tensor([0.9, 0.2]))
    assert torch.equal(above[:, 4], scores)


def test_soft_nms_keeps_the_best_box_whatever_its_score():
    boxes, scores = random_boxes(5, seed=4)
    dets, kept = soft_nms(boxes, scores, min_score=2.0)
    assert kept.tolist() == [int(scores.argmax())]
    assert dets.shape == (1, 5)


def test_soft_nms_leaves_equal_scores_in_order():
    # The box dropped first, 1, makes mmcv's own code go on with 4, its last box, instead of 2.
    boxes = torch.tensor([[10.0 * i, 0, 10 * i + 5, 5] for i in (0, 0, 1, 2, 3)])
    scores = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.5])
    assert soft_nms(boxes, scores, method="naive")[1].tolist() == [0, 2, 3, 4]


def test_soft_nms_of_boxes_without_area():
    boxes = torch.tensor([[4.0, 3, 5, 3], [4, 3, 5, 4]] + 4 * [[3, 1, 3, 1]])
    scores = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.4, 0.0])
    for method in ("naive", "linear", "gaussian"):
        dets, kept = soft_nms(boxes, scores, 0.6, sigma=0.5, method=method)
        assert kept.tolist() == [0, 1, 2, 3, 4]
        assert torch.equal(dets[:, 4], scores[:5])


def test_soft_nms_of_nothing():
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


@pytest.mark.parametrize("threshold", [0.2, 0.5])
@pytest.mark.parametrize("count", [1, 9, 60])
def test_nms_match(count, threshold):
    boxes, scores = random_boxes(count, seed=20 + count)
    rows, groups = boxes.tolist(), []
    for i in scores.argsort(descending=True).tolist():
        home = [g for g in groups if iou(rows[g[0]], rows[i], 0) >= threshold]
        home[0].append(i) if home else groups.append([i])
    matched = nms_match(torch.cat([boxes, scores[:, None]], dim=1), threshold)
    assert [group.tolist() for group in matched] == groups
    assert all(group.dtype == torch.int64 for group in matched)


def test_nms_match_at_the_threshold():
    dets = torch.cat([IOU_3_OF_5, torch.tensor([[0.2], [0.7]])], dim=1)
    assert mmcv._ext.nms_match(dets, 0.6) == [[1, 0]]
    assert mmcv._ext.nms_match(dets, iou_threshold=0.601) == [[1], [0]]


def test_nms_match_leaves_equal_scores_in_order():
    boxes = torch.tensor([[10.0 * (i % 7), 0, 10 * (i % 7) + 5, 5] for i in range(21)])
    dets = torch.cat([boxes, torch.full((21, 1), 0.5)], dim=1)
    assert mmcv._ext.nms_match(dets, 0.5) == [[i, i + 7, i + 14] for i in range(7)]


def test_nms_match_of_nothing():
    assert nms_match(torch.zeros(0, 5), 0.5) == []
    assert mmcv._ext.nms_match(torch.zeros(0, 5), 0.5) == []


@pytest.mark.parametrize("split_thr", [10000, 10])
@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
def test_batched_nms(kind, split_thr):
    boxes, scores = random_boxes(60, seed=5)
    classes = torch.arange(60) % 3
    config = {"type": kind, "iou_threshold": 0.3, "split_thr": split_thr}
    dets, kept = batched_nms(boxes, scores, classes, config)

    expected = {}
    for c in range(3):
        members = (classes == c).nonzero().flatten()
        if kind == "nms":
            best = nms_by_hand(boxes[members], scores[members], 0.3, 0)
            lowered = scores[members[best]].tolist()
        else:
            best, lowered = soft_nms_by_hand(
                boxes[members], scores[members], 0.3, 0.5, 1e-3, "linear", 0
            )
        expected.update(zip(members[best].tolist(), lowered, strict=True))
    order = sorted(expected, key=lambda i: -expected[i])
    assert kept.tolist() == order
    assert torch.equal(dets[:, :4], boxes[kept])
    # Classes are told apart by shifting boxes some 60 pixels, which costs digits of their IoU.
    torch.testing.assert_close(
        dets[:, 4], torch.tensor([expected[i] for i in order]), rtol=1e-4, atol=1e-6
    )
