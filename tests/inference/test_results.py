"""Results drawn and written, by hand-made ones."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lsnet_mm.datasets.coco_writer import coco_categories
from lsnet_mm.inference import Classes, Detections, LabelMap

IMAGE = np.full((60, 80, 3), (200, 150, 100), np.uint8)  # BGR
NAMES, PALETTE = ("cat", "dog"), ((255, 0, 0), (0, 0, 255))


def detections(masks: bool = False, names=NAMES) -> Detections:
    area = np.zeros((2, 60, 80), bool)
    area[0, 30:50, 20:40] = True
    return Detections(
        IMAGE,
        names,
        PALETTE,
        boxes=np.float32([[20, 30, 40, 50], [50, 5, 70, 25]]),
        scores=np.float32([0.9, 0.2]),
        labels=np.array([1, 0]),
        masks=area if masks else None,
    )


def test_boxes_are_drawn_from_the_threshold(tmp_path):
    drawn = np.asarray(detections().draw(tmp_path / "x.png"))
    np.testing.assert_array_equal(drawn, np.asarray(Image.open(tmp_path / "x.png")))
    assert drawn[49, 30].tolist() == [0, 0, 255]  # the lower edge, in the colour of dog
    assert drawn[24, 60].tolist() == [100, 150, 200]  # of 0.2: not drawn; RGB
    drawn = np.asarray(detections().draw(score_thr=0.1))
    assert drawn[24, 60].tolist() == [255, 0, 0]


def test_masks_are_blended():
    drawn = np.asarray(detections(masks=True).draw())
    assert drawn[45, 30].tolist() == pytest.approx([50, 75, 228], abs=2)


def test_records_are_cocos():
    first, second = detections(masks=True).records()
    assert first["bbox"] == [20, 30, 20, 20]
    assert first["category_id"] == 2
    assert second["score"] == pytest.approx(0.2)
    np.testing.assert_array_equal(
        coco_mask.decode(first["segmentation"]), detections(masks=True).masks[0]
    )
    assert "segmentation" not in detections().records()[0]


def test_cocos_classes_have_cocos_ids():
    ids = {entry["name"]: entry["id"] for entry in coco_categories()}
    names = sorted(ids)
    first, second = detections(names=names).records()
    assert [first["category_id"], second["category_id"]] == [ids[names[1]], ids[names[0]]]
    assert max(ids.values()) == 90


def test_label_map(tmp_path):
    labels = np.zeros((60, 80), np.int64)
    labels[30:, 40:] = 1
    result = LabelMap(IMAGE, NAMES, PALETTE, labels)
    result.save(tmp_path / "x.png")
    stored = Image.open(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(stored), labels)
    assert stored.convert("RGB").getpixel((50, 40)) == (0, 0, 255)
    (record,) = result.records()
    assert [c["name"] for c in record["classes"]] == ["cat", "dog"]
    assert [c["pixels"] for c in record["classes"]] == [3600, 1200]
    drawn = np.asarray(result.draw()).astype(int)
    assert drawn[50, 60, 2] > drawn[50, 60, 0] + 100  # blue
    assert drawn[50, 10, 0] > drawn[50, 10, 2] + 100  # red


def test_label_map_of_many_classes(tmp_path):
    labels = np.full((4, 5), 300)
    LabelMap(IMAGE[:4, :5], (), (), labels).save(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), labels)


def test_classes():
    result = Classes(IMAGE, NAMES, PALETTE, np.float32([0.25, 0.75]))
    assert result.top(1) == [("dog", 0.75)]
    assert result.records()[1] == {"rank": 2, "label": 0, "class": "cat", "score": 0.25}
    drawn = np.asarray(result.draw())
    assert drawn.min(-1).max() > 180  # white text; nothing else is as bright
    assert drawn[50, 70].tolist() == [100, 150, 200]


def test_classes_without_names():
    result = Classes(IMAGE, (), (), np.float32([0.25, 0.75]))
    assert result.top() == [("1", 0.75), ("0", 0.25)]
    assert detections(names=()).records()[0]["category_id"] == 2
    detections(names=()).draw()
