"""Shapes: synthetic scenes of overlapping shapes, for detection, segmentation and classification.

A scene is an image and the visible mask of every object in it. It is drawn from
``(seed, split, index)`` alone, so scenes can be made in any order and in parallel.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ("ellipse", "triangle", "rectangle", "star", "cross", "ring", "crescent")
"""Class names; an object's ``label`` is an index into them."""

PALETTE = [
    (230, 57, 70),
    (255, 183, 3),
    (42, 157, 143),
    (131, 56, 236),
    (58, 134, 255),
    (251, 86, 7),
    (144, 190, 109),
]
"""One RGB colour per class, for drawing results."""

SEGMENTATION_CLASSES = ("background", *CLASSES)
"""What a pixel can show; the values of ``Scene.label_map`` are indices into them."""

SEGMENTATION_PALETTE = [(128, 128, 128), *PALETTE]
"""One RGB colour per class of ``SEGMENTATION_CLASSES``."""

SPLITS = ("train", "val")
"""Independent parts of a data set, of any number of scenes each."""

MIN_SIDE = 32  # the smallest image side, in pixels: room for a few of the smallest shapes
MIN_VISIBLE_PIXELS = 16
MIN_VISIBLE_FRACTION = 0.25  # of the object's area in the image: less could not be recognised
EMPTY_PROBABILITY = 0.06
CROWD_PROBABILITY = 0.12
MAX_OBJECTS = 5
OBJECT_STREAM = 1  # keeps object scenes independent of the others of the same seed and index

Outline = list[np.ndarray]
Pattern = Callable[[np.random.Generator, tuple[int, int], float], np.ndarray]


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, or one crowd of many small ones.

    Attributes:
        label: Class index, 0 to ``len(CLASSES) - 1``.
        mask: Visible pixels, bool (H, W); not empty, and disjoint from the scene's other masks.
        crowd: Whether the mask covers a group of shapes not told apart (COCO's ``iscrowd``).
    """

    label: int
    mask: np.ndarray
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """An image and its objects, back to front.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        objects: Possibly none.
    """

    image: np.ndarray
    objects: list[SceneObject]

    def label_map(self) -> np.ndarray:
        """Return every pixel's index into ``SEGMENTATION_CLASSES``, uint8 (H, W)."""
        labels = np.zeros(self.image.shape[:2], np.uint8)
        for item in self.objects:
            labels[item.mask] = item.label + 1
        return labels


def make_scene(size: tuple[int, int], seed: int, split: str, index: int) -> Scene:
    """Draw one scene; the same arguments always give the same scene.

    Args:
        size: Width and height of the image in pixels, each at least ``MIN_SIDE``.
        seed: Of the whole data set, 0 or more.
        split: One of ``SPLITS``.
        index: Of the scene in its split, 0 or more.

    Raises:
        ValueError: If ``size`` is too small, ``split`` unknown, or ``seed`` or ``index`` negative.
    """
    rng = _generator(size, seed, split, index)
    image = _background(rng, size)
    return _compose(rng, image, _layers(rng, size))


def make_object_scene(size: tuple[int, int], seed: int, split: str, index: int) -> Scene:
    """Draw a scene of one large object, for classification; otherwise as ``make_scene``.

    Classes take turns: the object's label is ``index % len(CLASSES)``. The object is wholly in the
    image or nearly so.
    """
    rng = _generator(size, seed, split, index, OBJECT_STREAM)
    image = _background(rng, size)
    return _compose(rng, image, [_large(rng, size, index % len(CLASSES))])


def _generator(
    size: tuple[int, int], seed: int, split: str, index: int, *stream: int
) -> np.random.Generator:
    """Return a scene's own random generator; errors are those of ``make_scene``."""
    if min(size) < MIN_SIDE:
        raise ValueError(f"size must be at least {MIN_SIDE} pixels a side, not {size}")
    return np.random.default_rng((seed, SPLITS.index(split), index, *stream))


# Layers: what is drawn where, before any occlusion.


@dataclass(frozen=True)
class _Layer:
    """A shape, or a crowd of them: its opacity over the image, uint8 (H, W), and its colours."""

    label: int
    alpha: np.ndarray
    crowd: bool


def _layers(rng: np.random.Generator, size: tuple[int, int]) -> list[_Layer]:
    """Return a random scene's layers, back to front; at times none, at times a crowd at the back.

    A crowd always has some shape in front of it, so that a scene with a crowd has an object too.
    """
    if rng.random() < EMPTY_PROBABILITY:
        return []
    crowd = [_crowd(rng, size)] if rng.random() < CROWD_PROBABILITY else []
    return crowd + [_single(rng, size) for _ in range(rng.integers(1, MAX_OBJECTS + 1))]


def _single(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    """Return one shape, small to large with equal chance per octave, its centre in the image."""
    short = min(size)
    radius = np.exp(rng.uniform(math.log(max(6, 0.05 * short)), math.log(0.42 * short)))
    centre = [rng.uniform(0.4 * radius, side - 0.4 * radius) for side in size]
    label = int(rng.integers(len(CLASSES)))
    return _shape(rng, size, label, centre, radius)


def _large(rng: np.random.Generator, size: tuple[int, int], label: int) -> _Layer:
    """Return one shape of most of the image's short side, of which at most the rim is outside."""
    radius = min(size) * rng.uniform(0.3, 0.45)
    centre = [rng.uniform(0.9 * radius, side - 0.9 * radius) for side in size]
    return _shape(rng, size, label, centre, radius)


def _shape(
    rng: np.random.Generator,
    size: tuple[int, int],
    label: int,
    centre: list[float],
    radius: float,
) -> _Layer:
    alpha = np.zeros(size[::-1], np.uint8)
    _fill(alpha, _pose(rng, OUTLINES[label], centre, radius))
    return _Layer(label, alpha, crowd=False)


def _crowd(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    """Return a cluster of many small shapes of one class."""
    short = min(size)
    radius = max(4, short * rng.uniform(0.025, 0.045))
    centre = [rng.uniform(0.2 * side, 0.8 * side) for side in size]
    spread = short * rng.uniform(0.1, 0.2)
    label = int(rng.integers(len(CLASSES)))
    alpha = np.zeros(size[::-1], np.uint8)
    for _ in range(rng.integers(12, 31)):
        place = np.clip(rng.normal(centre, spread), 0, size)
        _fill(alpha, _pose(rng, OUTLINES[label], place, radius * rng.uniform(0.8, 1.2)))
    return _Layer(label, alpha, crowd=True)


def _visible(layers: list[_Layer]) -> list[tuple[_Layer, np.ndarray]]:
    """Return the layers to paint, back to front, each with its visible mask, bool (H, W).

    Goes from the front: a layer of which too little would show is left out, so it covers nothing
    either, and every shape in the image is annotated.
    """
    kept = []
    covered = np.False_
    for layer in reversed(layers):
        mask = layer.alpha >= 128
        visible = mask & ~covered
        if visible.sum() >= max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_FRACTION * mask.sum()):
            covered = covered | mask
            kept.append((layer, visible))
    return kept[::-1]


def _compose(rng: np.random.Generator, image: np.ndarray, layers: list[_Layer]) -> Scene:
    """Draw the layers, back to front, over the image, in place, and return the scene."""
    objects = []
    for layer, mask in _visible(layers):
        _paint(rng, image, layer)
        objects.append(SceneObject(layer.label, mask, layer.crowd))
    return Scene(image, objects)


# Outlines: a list of closed contours, float (n, 2), filled by the even-odd rule. They lie in the
# unit circle, y down.


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    """Return points on a circle around ``(x, 0)`` from angle ``start`` to ``stop``, in degrees."""
    angles = np.radians(np.linspace(start, stop, 48))
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _corners(*radii: float) -> np.ndarray:
    """Return corners at equal angles, at the given distances from the centre."""
    angles = np.arange(len(radii)) * 2 * math.pi / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


def _rotation(angle: float) -> np.ndarray:
    return np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])


def _plus(arm: float) -> np.ndarray:
    """Return a plus sign whose arms are ``2 * arm`` wide."""
    tip = math.sqrt(1 - arm**2)
    quarter = np.array([(tip, -arm), (tip, arm), (arm, arm)])
    turn = np.array([(0, 1), (-1, 0)])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


OUTLINES: tuple[Outline, ...] = (
    [_arc(0, 360)],
    [_corners(1, 1, 1)],
    [_corners(1, 1, 1, 1) @ _rotation(math.pi / 4)],
    [_corners(*[1, 0.42] * 5)],
    [_plus(0.3)],
    [_arc(0, 360), _arc(0, 360, radius=0.55)],
    # The unit circle without the circle of radius 0.8 around (0.45, 0): they meet at these angles.
    [np.concatenate([_arc(51.3, 308.7), _arc(282.6, 77.4, radius=0.8, x=0.45)])],
)
"""The outline of each class, in the order of ``CLASSES``."""


def _pose(rng: np.random.Generator, outline: Outline, centre, radius: float) -> Outline:
    """Return the outline stretched and turned at random, in the image's pixel coordinates."""
    stretch = np.diag([radius, radius * rng.uniform(0.6, 1)])
    turn = _rotation(rng.uniform(0, 2 * math.pi))
    return [contour @ stretch @ turn + centre for contour in outline]


def _fill(alpha: np.ndarray, outline: Outline) -> None:
    """Draw the outline's inside, with smooth edges, as 255 into ``alpha``, uint8 (H, W)."""
    bits = 4  # fixed-point precision; OpenCV's integer coordinates are at pixel centres
    points = [np.rint((contour - 0.5) * (1 << bits)).astype(np.int32) for contour in outline]
    cv2.fillPoly(alpha, points, 255, lineType=cv2.LINE_AA, shift=bits)


# Textures: a pattern in [0, 1], float32 (H, W), through a ramp of two colours.


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a muted texture, uint8 (H, W, 3)."""
    hue, saturation, value = rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.8)
    ends = [
        _colour(hue + rng.uniform(-0.1, 0.1), saturation, value + step * rng.uniform(0.05, 0.18))
        for step in (-1, 1)
    ]
    return _texture(rng, size[::-1], min(size) * rng.uniform(0.06, 0.4), ends)


def _paint(rng: np.random.Generator, image: np.ndarray, layer: _Layer) -> None:
    """Draw the layer over the image, in place, in a vivid texture of its own.

    Hues lean towards one of the class, as bananas tend to be yellow: a small network then learns
    the set within minutes on a CPU.
    """
    x, y, width, height = cv2.boundingRect(layer.alpha)
    hue = layer.label / len(CLASSES) + rng.normal(0, 0.03)
    ends = [
        _colour(hue + rng.uniform(-0.04, 0.04), rng.uniform(0.55, 1), rng.uniform(0.45, 1))
        for _ in range(2)
    ]
    period = max(4, min(width, height) * rng.uniform(0.15, 0.5))
    texture = _texture(rng, (height, width), period, ends)
    part = image[y : y + height, x : x + width]
    alpha = layer.alpha[y : y + height, x : x + width, None].astype(np.uint16)
    part[:] = (part * (255 - alpha) + texture * alpha + 127) // 255


def _texture(rng: np.random.Generator, shape: tuple[int, int], period: float, ends) -> np.ndarray:
    pattern = PATTERNS[rng.integers(len(PATTERNS))](rng, shape, period)
    ramp = np.linspace(*ends, 256).astype(np.uint8)
    return ramp[(pattern * 255).astype(np.uint8)]


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """Return RGB in 0 to 255; the hue wraps around, the value is clipped to 0 to 1."""
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, min(max(value, 0), 1)))


def _axes(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's coordinates on two randomly turned axes, in pixels, float32 (H, W)."""
    y, x = (np.arange(side, dtype=np.float32) for side in shape)
    (cos, sin), _ = np.float32(_rotation(rng.uniform(0, 2 * math.pi)))
    phase = np.float32(rng.uniform(0, 1000, 2))
    return cos * x + sin * y[:, None] + phase[0], cos * y[:, None] - sin * x + phase[1]


def _gradient(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    return cv2.normalize(_axes(rng, shape)[0], None, 0, 1, cv2.NORM_MINMAX)


def _stripes(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    u, _ = _axes(rng, shape)
    return np.clip(0.5 + rng.uniform(0.5, 3) * np.sin(u * (2 * math.pi / period)), 0, 1)


def _checkers(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    u, v = (np.sin(axis * (math.pi / period)) for axis in _axes(rng, shape))
    return np.clip(0.5 + 5 * u * v, 0, 1)


def _dots(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    u, v = (np.cos(axis * (2 * math.pi / period)) for axis in _axes(rng, shape))
    return np.clip(3 * (u + v - rng.uniform(0.6, 1.2)), 0, 1)


def clouds(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    """Return noise of three octaves, its cells ``period`` pixels a side and less.

    The values are float32 (H, W), the least 0 and the greatest 1.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(3):
        cells = [math.ceil(side / period * 2**octave) + 2 for side in shape]
        noise = rng.random(cells, np.float32) * np.float32(0.5**octave)
        total += cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(total, None, 0, 1, cv2.NORM_MINMAX)


def _blobs(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    return np.clip(0.5 + 8 * (clouds(rng, shape, period) - 0.5), 0, 1)


def _grain(rng: np.random.Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    return np.clip(0.5 + 0.2 * rng.standard_normal(shape, np.float32), 0, 1)


PATTERNS: tuple[Pattern, ...] = (
    _gradient,
    _stripes,
    _checkers,
    _dots,
    clouds,
    _blobs,
    _grain,
)
