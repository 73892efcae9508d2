import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnet_mm.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lsnet_mm.datasets.shapes import make_object_scene

NOISE = ["gaussian_noise", "shot_noise", "impulse_noise"]
BLUR = ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"]
WEATHER = ["snow", "frost", "fog"]
DIGITAL = ["contrast", "elastic_transform", "pixelate", "jpeg_compression"]
NAMES = [*NOISE, *BLUR, *WEATHER, "brightness", *DIGITAL]


def rng(*seed):
    return np.random.default_rng(seed)


def damage(image, name, severity, *seed):
    """The mean absolute difference from the image."""
    return np.abs(corrupt(image, name, severity, rng(*seed)).astype(int) - image).mean()


def test_the_corruptions_are_those_of_imagenet_c():
    assert list(CORRUPTIONS) == NAMES
    for _, strengths in CORRUPTIONS.values():
        assert len(strengths) == len(SEVERITIES)
        assert list(strengths) == sorted(set(strengths))


@pytest.mark.parametrize("size", [(32, 32), (33, 90), (160, 120)])
@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_severity(name, size):
    images = [make_object_scene(size, 0, "train", index).image for index in range(14)]
    means = [
        np.mean([damage(image, name, severity, i) for i, image in enumerate(images)])
        for severity in SEVERITIES
    ]
    assert means[0] > 1
    assert (np.diff(means) > 0.02 * np.array(means[:-1])).all()


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(32, 100), st.integers(32, 100)),
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 2**32),
)
def test_any_image_is_copied_and_damaged_as_its_generator_tells(size, name, severity, seed):
    image = make_object_scene(size, seed, "val", 0).image
    before = image.copy()
    damaged = corrupt(image, name, severity, rng(seed))
    assert (damaged.dtype, damaged.shape) == (np.uint8, image.shape)
    assert (image == before).all()
    assert (damaged != image).any()
    assert (corrupt(image, name, severity, rng(seed)) == damaged).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_random_differs_between_generators(name):
    image = make_object_scene((64, 48), 0, "val", 0).image
    one, other = (corrupt(image, name, 3, rng(seed)) for seed in range(2))
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert (one == other).all() == (name in fixed)


@pytest.mark.parametrize("name", [*BLUR, "contrast", "elastic_transform", "pixelate"])
@pytest.mark.parametrize("severity", [1, 5])
def test_what_moves_or_averages_leaves_a_plain_image_as_it_is(name, severity):
    image = np.full((48, 64, 3), (90, 140, 90), np.uint8)
    if name == "contrast":
        image[...] = 100
    assert np.abs(corrupt(image, name, severity, rng(0)).astype(int) - image).max() <= 2


def test_noise_is_of_its_kind():
    shape = (100, 100, 3)
    dark, light = (np.full(shape, value, np.uint8) for value in (60, 160))
    for name in ("gaussian_noise", "shot_noise"):
        spread = [corrupt(image, name, 1, rng(0)).std() for image in (dark, light)]
        ratio = spread[1] / spread[0]
        assert abs(ratio - (1 if name == "gaussian_noise" else np.sqrt(160 / 60))) < 0.05
        assert abs(corrupt(light, name, 1, rng(0)).mean() - 160) < 1
    found = corrupt(light, "impulse_noise", 5, rng(0))
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == [0, 160, 255]
    assert abs(counts[0] / counts[2] - 1) < 0.1
    assert abs(1 - counts[1] / light.size - CORRUPTIONS["impulse_noise"][1][4]) < 0.02


def test_blur_is_of_its_kind():
    """Around a bright square at the centre, or away from it, by the axes of what it becomes."""
    dot = np.zeros((121, 121, 3), np.uint8)
    dot[58:63, 58:63] = 255
    moved = np.roll(dot, 30, axis=1)

    def axes(image):
        y, x = np.nonzero(image[..., 0] > 2)
        return np.sqrt(np.linalg.eigvalsh(np.cov(x, y)))

    short, long = axes(corrupt(dot, "defocus_blur", 5, rng(0)))
    assert short > 1.5 * axes(dot)[0]
    assert long < 1.1 * short
    short, long = axes(corrupt(dot, "motion_blur", 5, rng(0)))
    assert long > 2 * short
    assert np.ptp([axes(corrupt(dot, "motion_blur", 5, rng(seed)))[1] for seed in range(5)]) < 1
    short, long = axes(corrupt(moved, "zoom_blur", 5, rng(0)))
    assert long > 1.4 * short
    assert axes(corrupt(dot, "zoom_blur", 5, rng(0)))[1] < 1.5 * axes(dot)[1]


def test_weather_and_light_are_of_their_kind():
    image = make_object_scene((160, 120), 0, "val", 0).image // 2
    black, white = (np.full_like(image, value) for value in (0, 255))
    for name in ("snow", "frost", "fog", "brightness"):
        assert corrupt(image, name, 3, rng(0)).mean() > image.mean() + 20
    assert corrupt(image, "contrast", 5, rng(0)).std() < 0.1 * image.std()
    seen_through = [
        (corrupt(white, "fog", severity, rng(0)) - corrupt(black, "fog", severity, rng(0))) / 255
        for severity in SEVERITIES
    ]
    assert all((more < less).all() for less, more in itertools.pairwise(seen_through))
    assert seen_through[0].min() > 0.5
    assert seen_through[4].max() < 0.6
    assert 0.01 < (corrupt(black, "snow", 3, rng(0)) > 200).mean() < 0.2
    frost = corrupt(black, "frost", 3, rng(0))
    assert frost[:8].mean() > 2 * frost[50:70, 60:100].mean()


def test_geometry_is_of_its_kind():
    slope = np.broadcast_to(np.arange(0, 240, 2, dtype=np.uint8)[:, None], (160, 120, 3))
    rough, smooth = (
        np.abs(np.diff(corrupt(slope, name, 5, rng(0))[20:-20, 20:-20, 0].astype(int), axis=0))
        for name in ("glass_blur", "elastic_transform")
    )
    assert 0 < smooth.mean() < 1 < rough.mean()
    blocks = corrupt(make_object_scene((224, 224), 0, "val", 0).image, "pixelate", 5, rng(0))
    changes = (np.diff(blocks.astype(int), axis=1) != 0).any(axis=(0, 2))
    assert changes.sum() == round(224 / CORRUPTIONS["pixelate"][1][4]) - 1


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("fog", 0), ("fog", 6), ("fog", -1)])
def test_what_is_unknown_is_refused(name, severity):
    with pytest.raises(ValueError, match=f"no corruption '{name}' of severity {severity}"):
        corrupt(np.zeros((32, 32, 3), np.uint8), name, severity, rng(0))
