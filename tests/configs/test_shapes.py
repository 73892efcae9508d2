"""The Shapes config against the data set it is for."""

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lsnet_mm.datasets.shapes import CLASSES, PALETTE
from lsnet_mm.models import LSNet
from tests.conftest import ROOT


def test_classes_are_those_of_the_data_set(shapes):
    cfg = Config.fromfile(ROOT / "configs/retinanet_lsnet_t_shapes.py")
    init_default_scope("mmdet")
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = DATASETS.build(dict(cfg[loader].dataset, data_root=str(shapes)))
        assert tuple(dataset.metainfo["classes"]) == CLASSES
        assert [tuple(colour) for colour in dataset.metainfo["palette"]] == PALETTE
        assert sorted(dataset.cat_ids) == list(range(1, len(CLASSES) + 1))
        assert len(dataset[0]["data_samples"].gt_instances) > 0


def test_backbone_is_the_whole_lsnet_t():
    cfg = Config.fromfile(ROOT / "configs/retinanet_lsnet_t_shapes.py")
    init_default_scope("mmdet")
    backbone = MODELS.build(cfg.model.backbone)
    assert sum(p.numel() for p in backbone.parameters()) == sum(
        p.numel() for p in LSNet("t").parameters()
    )
