import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnet_mm.datasets import shapes
from lsnet_mm.datasets.coco_writer import COCO_NAMES
from lsnet_mm.datasets.imagenet_writer import IMAGENET_SYNSETS
from lsnet_mm.datasets.shapes import (
    CLASSES,
    PALETTE,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
    Scene,
    SceneObject,
    make_object_scene,
    make_scene,
)

SIZE = (320, 240)
SCENE_ARGUMENTS = {
    "size": st.tuples(st.integers(32, 160), st.integers(32, 160)),
    "seed": st.integers(0, 2**32),
    "split": st.sampled_from(shapes.SPLITS),
    "index": st.integers(0, 10**6),
}


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(SIZE, 0, "train", index) for index in range(100)]


@pytest.fixture(scope="module")
def object_scenes():
    return [make_object_scene(SIZE, 0, "train", index) for index in range(56)]


def check_scene(scene, size):
    assert scene.image.shape == (size[1], size[0], 3)
    assert scene.image.dtype == np.uint8
    times_covered = np.zeros(size[::-1], int)
    for item in scene.objects:
        assert item.mask.dtype == bool
        assert item.mask.shape == size[::-1]
        assert item.mask.sum() >= shapes.MIN_VISIBLE_PIXELS
        assert 0 <= item.label < len(CLASSES)
        times_covered += item.mask
    assert times_covered.max() <= 1
    labels = scene.label_map()
    assert labels.shape == size[::-1]
    assert labels.dtype == np.uint8
    assert ((labels > 0) == (times_covered > 0)).all()
    for item in scene.objects:
        assert (labels[item.mask] == item.label + 1).all()


@settings(max_examples=60, deadline=None)
@given(**SCENE_ARGUMENTS)
def test_any_scene_is_sound(size, seed, split, index):
    check_scene(make_scene(size, seed, split, index), size)


@settings(max_examples=60, deadline=None)
@given(**SCENE_ARGUMENTS)
def test_any_object_scene_is_sound(size, seed, split, index):
    scene = make_object_scene(size, seed, split, index)
    check_scene(scene, size)
    assert [(item.label, item.crowd) for item in scene.objects] == [(index % len(CLASSES), False)]


def test_the_image_shows_the_objects_where_their_masks_are(monkeypatch):
    """In plain colours, 0 for the background and 20, 40 ... for the objects from back to front."""
    colours = itertools.count(step=20)
    monkeypatch.setattr(
        shapes, "_texture", lambda _, shape, *__: np.full((*shape, 3), next(colours), np.uint8)
    )
    kernel = np.ones((5, 5), np.uint8)  # smooth edges reach so far
    total = wrong = 0
    for index in range(60):
        colours = itertools.count(step=20)
        scene = make_scene(SIZE, 0, "train", index)
        around = cv2.dilate((scene.label_map() > 0).astype(np.uint8), kernel) > 0
        assert not scene.image[~around].any()
        for order, item in enumerate(scene.objects, start=1):
            inside = cv2.erode(item.mask.astype(np.uint8), kernel, borderValue=1) > 0
            total += inside.sum()
            wrong += (scene.image[inside, 0] != 20 * order).sum()
    assert wrong < total / 10_000  # there are smooth edges inside crowds too


def test_scenes_are_varied(scenes):
    objects = [item for scene in scenes for item in scene.objects]
    single = [item for item in objects if not item.crowd]
    assert {item.label for item in single} == set(range(len(CLASSES)))
    areas = np.array([item.mask.sum() for item in single])
    small, large = (areas < 32**2).mean(), (areas > 96**2).mean()
    assert small > 0.2
    assert large > 0.03
    assert 1 - small - large > 0.2
    assert 0.02 < np.mean([not scene.objects for scene in scenes]) < 0.15
    assert 0.02 < np.mean([any(o.crowd for o in scene.objects) for scene in scenes]) < 0.25
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_crowds_are_groups_behind_some_object(scenes):
    for scene in scenes:
        for item in scene.objects:
            if item.crowd:
                assert cv2.connectedComponents(item.mask.astype(np.uint8))[0] > 3
                assert not all(other.crowd for other in scene.objects)


def test_objects_occlude_each_other(scenes):
    touching = 0
    for scene in scenes:
        for i, item in enumerate(scene.objects):
            near = cv2.dilate(item.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            touching += any((near & other.mask).any() for other in scene.objects[:i])
    assert touching > 0.2 * sum(len(scene.objects) for scene in scenes)


def test_what_is_hidden_is_dropped_and_hides_nothing():
    def layer(label, rows):
        alpha = np.zeros((32, 32), np.uint8)
        alpha[rows] = 255
        return shapes._Layer(label, alpha, crowd=False)

    back, hidden, front = layer(0, slice(0, 20)), layer(1, slice(8, 16)), layer(2, slice(9, 32))
    kept = shapes._visible([back, hidden, front])
    assert [found.label for found, _ in kept] == [0, 2]
    assert [mask.sum() for _, mask in kept] == [9 * 32, 23 * 32]


def test_the_label_map_of_a_known_scene():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 0, 0] = masks[1, 1, 1:] = True
    scene = Scene(
        np.zeros((2, 3, 3), np.uint8),
        [SceneObject(4, masks[0], False), SceneObject(0, masks[1], True)],
    )
    assert scene.label_map().tolist() == [[5, 0, 0], [0, 1, 1]]
    assert SEGMENTATION_CLASSES[5] == CLASSES[4]


def test_the_object_of_an_object_scene_is_large_and_in_the_image(object_scenes):
    radii, cut = [], 0
    for scene in object_scenes:
        mask = scene.objects[0].mask.astype(np.uint8)
        radii.append(cv2.minEnclosingCircle(cv2.findNonZero(mask))[1] / min(SIZE))
        rim = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
        longest = max(np.count_nonzero(side) for side in rim)
        assert longest < 0.45 * min(SIZE)  # a corner or a segment of the shape
        cut += longest > 0
    assert 0.24 < min(radii) < max(radii) < 0.46  # outlines fill their circle, or nearly
    assert max(radii) - min(radii) > 0.1
    assert cut < 0.25 * len(object_scenes)


def test_object_scenes_differ_from_each_other_and_from_other_scenes(scenes, object_scenes):
    """In the background too: where two images show the same one, most corners are equal."""
    others = [make_object_scene(SIZE, *which) for which in [(0, "val", 0), (1, "train", 0)]]
    images = [scene.image for scene in [*scenes, *object_scenes, *others]]
    assert len({image.tobytes() for image in images}) == len(images)
    again = make_object_scene(SIZE, 0, "train", 3)
    assert (again.image == object_scenes[3].image).all()
    assert (again.objects[0].mask == object_scenes[3].objects[0].mask).all()
    same = [
        (scene.image == plain.image).all(axis=2).mean() > 0.2
        for scene, plain in zip(object_scenes, scenes, strict=False)
    ]
    assert not any(same)


def test_make_scene_refuses_what_it_cannot_draw():
    for arguments in [((31, 240), 0, "train", 0), (SIZE, -1, "train", 0), (SIZE, 0, "test", 0)]:
        for make in (make_scene, make_object_scene):
            with pytest.raises(ValueError, match=r"size|non-negative|x not in tuple"):
                make(*arguments)


def test_every_class_has_an_outline_a_colour_and_a_name_elsewhere():
    assert len(CLASSES) == len(shapes.OUTLINES) == len(PALETTE)
    assert len(SEGMENTATION_CLASSES) == len(set(SEGMENTATION_PALETTE)) == len(CLASSES) + 1
    assert SEGMENTATION_PALETTE[1:] == PALETTE
    assert tuple(COCO_NAMES) == tuple(IMAGENET_SYNSETS) == CLASSES
    for outline in shapes.OUTLINES:
        radii = np.linalg.norm(np.concatenate(outline), axis=1)
        assert radii.max() == pytest.approx(1, abs=0.01)
