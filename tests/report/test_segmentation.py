"""Label maps measured: against mmseg's metric."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, METRICS

from lsnet_mm.errors import InputError
from lsnet_mm.report.segmentation import mean_iou, measure
from tests.configs.recipes import read


@pytest.fixture(scope="module")
def dataset(shapes_as_ade20k):
    init_default_scope("mmseg")
    cfg = read("fpn_lsnet_t_shapes")
    return DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=str(shapes_as_ade20k)))


@pytest.fixture(scope="module")
def samples(dataset) -> list[dict]:
    """The true label maps beside ones that are shifted, and in part of one class."""
    samples = []
    for i in range(len(dataset)):
        truth = dataset[i]["data_samples"].gt_sem_seg.data
        found = torch.where(truth == 255, 0, truth).roll(2 + i, 2)
        found[:, :20] = 3
        samples.append(dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=found)))
    return samples


def test_iou_is_that_of_mmseg(dataset, samples):
    results = measure(dataset, samples)
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = dataset.metainfo
    metric.process({}, samples)
    areas = [sum(part).numpy() for part in zip(*metric.results, strict=True)]
    wanted = metric.evaluate(len(dataset))
    for name, value in wanted.items():
        assert results.numbers[name] == pytest.approx(value, abs=0.006)
    assert 20 < results.numbers["mIoU"] < 95
    np.testing.assert_allclose(results.columns["IoU"], 100 * areas[0] / areas[1])
    np.testing.assert_array_equal(results.confusion.sum(1), areas[3])
    np.testing.assert_array_equal(results.confusion.sum(0), areas[2])


def test_cases_start_with_the_worst(dataset, samples):
    results = measure(dataset, samples)
    scores = [float(case.note.split()[-1]) for case in results.cases]
    assert scores == sorted(scores)
    assert len(set(scores)) > 1
    for case in results.cases:
        truth, found = case.pictures.values()
        assert truth.size == found.size == (480, 360)
        assert truth.tobytes() != found.tobytes()
        assert set(case.legend) <= set(results.classes)


def test_mean_iou_of_an_image_is_over_its_true_classes():
    counts = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 1]])
    assert mean_iou(counts) == pytest.approx(100 * (6 / 9 + 1 / 2) / 2)
    assert np.isnan(mean_iou(np.zeros((3, 3), int)))


def test_another_size_is_refused(dataset, samples):
    cut = [dict(pred_sem_seg=dict(data=s["pred_sem_seg"]["data"][:, :-1])) for s in samples]
    with pytest.raises(InputError, match="a prediction is 160x119, but the label map 160x120"):
        measure(dataset, cut)


def test_dump_keeps_label_maps_alone(samples, tmp_path):
    dump = METRICS.build(dict(type="DumpSegResults", out_file_path=str(tmp_path / "out.pkl")))
    given = [dict(s, img_path="a.jpg", seg_logits=dict(data=torch.zeros(8))) for s in samples]
    dump.process({}, given)
    dump.evaluate(len(given))
    found = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert all(item.keys() == {"img_path", "pred_sem_seg"} for item in found)
    for item, sample in zip(found, samples, strict=True):
        labels = item["pred_sem_seg"]["data"]
        assert labels.dtype == torch.int16
        assert torch.equal(labels.long(), sample["pred_sem_seg"]["data"].long())
