"""Detections measured: against mmdet's metric, and a matching written out in loops."""

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from pycocotools import mask as coco_mask

from lsnet_mm.check.coco import decode_mask
from lsnet_mm.report.detection import IGNORED, NONE, Tally, match, measure, tally, worst_first
from tests.configs.recipes import read


@pytest.fixture(scope="module")
def dataset(shapes):
    cfg = read("retinanet_lsnet_t_shapes")
    return DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=str(shapes)))


@pytest.fixture(scope="module")
def predictions(dataset) -> list[dict]:
    """The annotated objects, some shifted, missed, of another class or invented; with masks."""
    random, found = np.random.default_rng(0), []
    for info in (dataset.get_data_info(i) for i in range(len(dataset))):
        instances = [item for item in info["instances"] if random.random() < 0.8]
        instances += instances[:2]  # doubles
        boxes = np.array([item["bbox"] for item in instances]).reshape(-1, 4)
        labels = np.array([item["bbox_label"] for item in instances], int)
        labels[random.random(len(labels)) < 0.3] = 2
        size = info["width"], info["height"]
        masks = [np.roll(decode_mask(item["mask"], *size), 3, 1) for item in instances]
        found.append(
            dict(
                img_id=info["img_id"],
                ori_shape=size[::-1],
                pred_instances=dict(
                    bboxes=torch.from_numpy(boxes + random.normal(0, 3, boxes.shape)).float(),
                    scores=torch.from_numpy(random.random(len(labels))).float(),
                    labels=torch.from_numpy(labels),
                    masks=[coco_mask.encode(np.asfortranarray(m, np.uint8)) for m in masks],
                ),
            )
        )
    return found


def test_precisions_are_those_of_mmdet(dataset, predictions):
    results = measure(dataset, predictions)
    metric = CocoMetric(ann_file=dataset.ann_file, metric=["bbox", "segm"], classwise=True)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, predictions)
    wanted = metric.evaluate(len(dataset))
    assert set(results.numbers) == {
        f"{k} {n}" for k in ("box", "mask") for n in ("AP", "AP50", "AP75")
    }
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        assert 10 < results.numbers[f"{name} AP"] < 90
        for suffix in ("", "_50", "_75"):
            ours = results.numbers[f"{name} AP{suffix[1:]}"] / 100
            assert ours == pytest.approx(wanted[f"coco/{kind}_mAP{suffix}"], abs=6e-4)
    for label, name in enumerate(results.classes):
        # mmdet gives every class's mask AP last, under the name of its box AP.
        ours = results.columns["mask AP"][label] / 100
        assert ours == pytest.approx(wanted[f"coco/{name}_precision"], abs=6e-4, nan_ok=True)


def test_nothing_found_has_no_precision(dataset, predictions):
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long())
    results = measure(dataset, [dict(pred_instances=empty) for _ in predictions])
    assert results.numbers == {"box AP": 0, "box AP50": 0, "box AP75": 0}
    objects = sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
    assert results.confusion[:, -1].sum() == results.confusion.sum() == objects


def test_cases_and_confusions_count_all_objects(dataset, predictions):
    results = measure(dataset, predictions)
    objects = sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
    above = sum(int((p["pred_instances"]["scores"] >= 0.3).sum()) for p in predictions)
    assert results.confusion[:-1].sum() == results.columns["objects"].sum() == objects
    assert results.confusion[:, :-1].sum() == above
    assert results.confusion[-1, -1] == 0
    assert len(results.cases) == len(dataset)
    for case in results.cases:
        truth, found = case.pictures.values()
        assert truth.size == found.size == (480, 360)
        assert truth.tobytes() != found.tobytes()


def overlap(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """IoU, and the intersection's share of the first box."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    first, second = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    both = width * height
    return both / (first + second - both), both / first


def simple_match(found: np.ndarray, truth: np.ndarray, ignored: np.ndarray) -> list[int]:
    matched, free = [], set(range(len(truth)))
    for box in found:
        best, best_overlap = NONE, 0.5
        for i in sorted(free):
            if overlap(box, truth[i])[0] >= best_overlap + (0 if best == NONE else 1e-12):
                best, best_overlap = i, overlap(box, truth[i])[0]
        free.discard(best)
        if best == NONE and any(overlap(box, area)[1] >= 0.5 for area in ignored):
            best = IGNORED
        matched.append(best)
    return matched


def test_match_is_the_simple_one():
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        counts = random.integers(0, (12, 8, 3))
        boxes = [random.uniform(0, 20, (n, 4)).astype(np.float32) for n in counts]
        for some in boxes:
            some[:, 2:] = some[:, :2] + 8 + some[:, 2:] / 2
        matched = match(*boxes)
        assert matched.tolist() == simple_match(*boxes)
        seen |= set(matched.tolist())
    assert seen >= {IGNORED, NONE, 0, 1, 2}


def test_an_image_is_summed_up():
    counts = np.array([[5, 1, 2], [0, 7, 3], [4, 0, 0]])
    assert tally(counts) == (12, 1, 5, 4)


def test_worst_are_those_of_least_f1():
    perfect, empty = Tally(5, 0, 0, 0), Tally(0, 0, 0, 0)
    missed, worse = Tally(0, 0, 1, 0), Tally(0, 0, 4, 2)
    swapped, false = Tally(3, 1, 0, 0), Tally(1, 0, 0, 1)  # F1 of 3 / 4 and 2 / 3
    assert worst_first([perfect, missed, empty, swapped, worse, false]) == [4, 1, 5, 3, 0, 2]
