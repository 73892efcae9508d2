"""The Shapes configs against the data sets they are for."""

from pathlib import Path

from mmdet.registry import DATASETS, MODELS
from mmpretrain.registry import DATASETS as MMPRETRAIN
from mmseg.registry import DATASETS as MMSEG

from lsnet_mm.datasets.shapes import (
    CLASSES,
    PALETTE,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
)
from lsnet_mm.models import LSNet
from tests.configs.recipes import read


def test_classes_are_those_of_the_data_set(shapes):
    cfg = read("retinanet_lsnet_t_shapes")
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = DATASETS.build(dict(cfg[loader].dataset, data_root=str(shapes)))
        assert tuple(dataset.metainfo["classes"]) == CLASSES
        assert [tuple(colour) for colour in dataset.metainfo["palette"]] == PALETTE
        assert sorted(dataset.cat_ids) == list(range(1, len(CLASSES) + 1))
        assert len(dataset[0]["data_samples"].gt_instances) > 0


def test_backbone_is_the_whole_lsnet_t():
    cfg = read("retinanet_lsnet_t_shapes")
    backbone = MODELS.build(cfg.model.backbone)
    assert sum(p.numel() for p in backbone.parameters()) == sum(
        p.numel() for p in LSNet("t").parameters()
    )


def test_segmentation_classes_are_those_of_the_label_maps(shapes_as_ade20k):
    cfg = read("fpn_lsnet_t_shapes")
    assert cfg.model.decode_head.num_classes == len(SEGMENTATION_CLASSES)
    seen = set()
    for loader, count in (("train_dataloader", 16), ("val_dataloader", 6)):
        dataset = MMSEG.build(dict(cfg[loader].dataset, data_root=str(shapes_as_ade20k)))
        assert tuple(dataset.metainfo["classes"]) == SEGMENTATION_CLASSES
        assert [tuple(colour) for colour in dataset.metainfo["palette"]] == SEGMENTATION_PALETTE
        assert len(dataset) == count
        for i in range(count):
            seen |= set(dataset[i]["data_samples"].gt_sem_seg.data.unique().tolist())
    assert seen == {*range(len(SEGMENTATION_CLASSES)), 255}


def test_image_classes_are_those_of_the_folders(shapes_by_class):
    cfg = read("lsnet_t_shapes")
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == len(CLASSES)
    dataset = MMPRETRAIN.build(dict(cfg.val_dataloader.dataset, data_root=str(shapes_by_class)))
    classes = dataset.metainfo["classes"]
    assert set(classes) == set(CLASSES)
    for info in dataset.load_data_list():
        assert Path(info["img_path"]).parent.name == classes[info["gt_label"]]
