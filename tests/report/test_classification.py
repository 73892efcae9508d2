"""Scores measured: against mmpretrain's metrics."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.evaluation import Accuracy, ConfusionMatrix
from mmpretrain.registry import DATASETS

from lsnet_mm.errors import InputError
from lsnet_mm.report.classification import measure
from tests.configs.recipes import read


@pytest.fixture(scope="module")
def dataset(shapes_by_class):
    init_default_scope("mmpretrain")
    cfg = read("lsnet_t_shapes")
    return DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=str(shapes_by_class)))


@pytest.fixture(scope="module")
def scores(dataset) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(dataset), 7, generator=generator)
    labels = [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]
    logits[range(len(dataset)), labels] += 1
    return logits.softmax(1)


def test_numbers_are_those_of_mmpretrain(dataset, scores):
    results = measure(dataset, [dict(pred_score=s) for s in scores])
    labels = torch.tensor([dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))])
    accuracy = Accuracy.calculate(scores, labels, topk=(1,))[0][0].item()
    assert 0 < accuracy < 100
    assert results.numbers == {"top-1": pytest.approx(accuracy)}
    wanted = ConfusionMatrix.calculate(scores, labels, num_classes=7).numpy()
    np.testing.assert_array_equal(results.confusion, wanted)
    with np.errstate(invalid="ignore"):
        recall = 100 * wanted.diagonal() / wanted.sum(1)
    np.testing.assert_allclose(results.columns["accuracy"], recall)
    np.testing.assert_array_equal(results.columns["images"], wanted.sum(1))


def test_cases_start_with_the_most_confident_error(dataset, scores):
    results = measure(dataset, [dict(pred_score=s) for s in scores])
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    loss = [-float(s[info["gt_label"]].log()) for s, info in zip(scores, infos, strict=True)]
    worst = infos[int(np.argmax(loss))]
    case = results.cases[0]
    assert worst["img_path"].endswith(case.name)
    assert case.note.startswith(f"true: {results.classes[worst['gt_label']]} (")
    (picture,) = case.pictures.values()
    assert max(picture.size) <= 480


def test_only_labels_of_the_subset_are_answered(dataset, scores, monkeypatch):
    monkeypatch.setitem(dataset._metainfo, "subset", [2, 5])
    results = measure(dataset, [dict(pred_score=s) for s in scores])
    assert results.confusion[:, [0, 1, 3, 4, 6]].sum() == 0
    assert results.confusion.sum() == len(dataset)


def test_images_of_several_labels_are_refused(dataset, scores, monkeypatch):
    monkeypatch.setattr(dataset, "get_data_info", lambda i: dict(img_path="a", gt_label=[1, 2]))
    with pytest.raises(InputError, match=r"a has not one label: \[1, 2\]"):
        measure(dataset, [dict(pred_score=s) for s in scores])
