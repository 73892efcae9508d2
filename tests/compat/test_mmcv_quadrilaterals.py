"""Rotated boxes and quadrilaterals against shapely's polygons."""

import math

import pytest
import torch
from mmcv.ops import box_iou_quadri, box_iou_rotated, nms_quadri, nms_rotated
from shapely.geometry import Polygon
from torch import Tensor


def random_boxes(count: int, seed: int) -> Tensor:
    """Rotated boxes of 1 to 7 in a square of 10, most of which overlap some."""
    low, span = torch.tensor([100.0, 0, 1, 1, -4]), torch.tensor([10.0, 10, 6, 6, 8])
    return low + span * torch.rand(count, 5, generator=torch.Generator().manual_seed(seed))


def coarse_boxes(count: int, seed: int) -> Tensor:
    """Boxes in whole numbers, turned by multiples of 45 degrees: corners and sides coincide."""
    boxes = random_boxes(count, seed).round()
    boxes[:, 4] *= math.pi / 4
    return boxes


def corners(box: list[float], clockwise: bool = True) -> list[tuple[float, float]]:
    x, y, width, height, angle = box
    cos, sin = math.cos(angle), math.sin(angle) * (1 if clockwise else -1)
    ends = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    ends = [(i * width, j * height) for i, j in ends]
    return [(x + i * cos - j * sin, y + i * sin + j * cos) for i, j in ends]


def quadrilaterals(count: int, seed: int) -> Tensor:
    """Convex ones, (N, 8), every other one counter-clockwise: points on ellipses."""
    generator = torch.Generator().manual_seed(seed)
    angle = (torch.arange(4) + 0.7 * torch.rand(count, 4, generator=generator)) * math.pi / 2
    angle[::2] *= -1
    centre = 10 * torch.rand(count, 1, 2, generator=generator)
    radii = 1 + 4 * torch.rand(count, 1, 2, generator=generator)
    return (centre + radii * torch.stack([angle.cos(), angle.sin()], dim=-1)).flatten(1)


def overlap(one: Polygon, other: Polygon, mode: str = "iou") -> float:
    return one.intersection(other).area / (one.union(other).area if mode == "iou" else one.area)


def nms_by_hand(polygons, scores: Tensor, labels: list[int], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        rivals = [k for k in kept if labels[k] == labels[i]]
        if all(overlap(polygons[k], polygons[i]) <= threshold for k in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("mode", ["iou", "iof"])
@pytest.mark.parametrize("make", [random_boxes, coarse_boxes])
def test_rotated_overlaps(make, mode, clockwise, dtype):
    first, second = make(15, 0).to(dtype), make(12, 1).to(dtype)
    one, other = (
        [Polygon(corners(b, clockwise)) for b in x.double().tolist()] for x in (first, second)
    )
    expected = torch.tensor([[overlap(a, b, mode) for b in other] for a in one], dtype=dtype)
    found = box_iou_rotated(first, second, mode, clockwise=clockwise)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    pairs = box_iou_rotated(first[:12], second, mode, aligned=True, clockwise=clockwise)
    torch.testing.assert_close(pairs, expected.diagonal(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_quadri_overlaps(mode):
    first, second = quadrilaterals(15, 0), quadrilaterals(12, 1)
    one, other = ([Polygon(q.view(4, 2).tolist()) for q in x] for x in (first, second))
    expected = torch.tensor([[overlap(a, b, mode) for b in other] for a in one])
    torch.testing.assert_close(box_iou_quadri(first, second, mode), expected, rtol=1e-5, atol=1e-5)
    pairs = box_iou_quadri(first[:12], second, mode, aligned=True)
    torch.testing.assert_close(pairs, expected.diagonal(), rtol=1e-5, atol=1e-5)


def test_a_box_with_itself_and_its_parts():
    box = torch.tensor([[5.0, 5, 4, 2, 0.3]])
    # Half of it, in the same place; its quarter turn; none of it.
    others = torch.tensor([[5.0, 5, 4, 2, 0.3], [5, 5, 4, 1, 0.3], [5, 5, 2, 4, 0.3 + math.pi / 2]])
    torch.testing.assert_close(box_iou_rotated(box, others), torch.tensor([[1.0, 0.5, 1.0]]))
    assert box_iou_rotated(box, torch.tensor([[5.0, 5, 0, 2, 0.3], [50, 5, 4, 2, 0]])).sum() == 0


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_nms_rotated(threshold, labelled):
    boxes, scores = random_boxes(40, 2), torch.randperm(40) / 40
    labels = torch.arange(40) % 2 if labelled else None
    dets, kept = nms_rotated(boxes, scores, threshold, labels)
    polygons = [Polygon(corners(box)) for box in boxes.tolist()]
    known = [0] * 40 if labels is None else labels.tolist()
    assert kept.tolist() == nms_by_hand(polygons, scores, known, threshold)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


@pytest.mark.parametrize("labelled", [False, True])
def test_nms_quadri(labelled):
    boxes, scores = quadrilaterals(40, 2), torch.randperm(40) / 40
    labels = torch.arange(40) % 2 if labelled else None
    _, kept = nms_quadri(boxes, scores, 0.3, labels)
    polygons = [Polygon(q.view(4, 2).tolist()) for q in boxes]
    known = [0] * 40 if labels is None else labels.tolist()
    assert kept.tolist() == nms_by_hand(polygons, scores, known, 0.3)


def test_no_boxes():
    boxes = random_boxes(3, 0)
    assert box_iou_rotated(boxes, boxes[:0]).shape == (3, 0)
    assert box_iou_rotated(boxes[:0], boxes).shape == (0, 3)
    assert box_iou_rotated(boxes[:0], boxes[:0], aligned=True).shape == (0,)
