"""Fifteen ways to damage an image, each at five severities, as in ImageNet-C.

They are simple stand-ins, made from the physical idea alone, for the corruptions of Hendrycks and
Dietterich (2019): of the same names and kinds, but not the same pixels or strengths. A model's
accuracy on them says nothing about its published one.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from lsnet_mm.datasets.shapes import clouds

Corruption = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(image: np.ndarray, name: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Return a damaged copy of an image.

    Generators in equal states give equal copies, and at a greater severity more of the same damage:
    the same noise but stronger, a longer motion in the same direction, a denser snowfall.

    Args:
        image: RGB, uint8 (H, W, 3), each side of 32 pixels or more.
        name: A key of ``CORRUPTIONS``.
        severity: One of ``SEVERITIES``.
        rng: What the damage is drawn from.

    Raises:
        ValueError: If ``name`` or ``severity`` is unknown.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"no corruption {name!r} of severity {severity!r}")
    corruption, strengths = CORRUPTIONS[name]
    damaged = corruption(image.astype(np.float32) / 255, strengths[severity - 1], rng)
    return np.rint(255 * damaged.clip(0, 1)).astype(np.uint8)


# Each takes an image, float32 (H, W, 3) in 0 to 1, a strength and a generator, and returns an image
# that may go beyond that range. Lengths are in units of `_unit(image)` pixels.


def _unit(image: np.ndarray) -> float:
    """Return the short side over 224, but half a pixel at least: less would be no damage."""
    return max(0.5, min(image.shape[:2]) / 224)


# Noise of a sensor.


def _gaussian_noise(image, deviation, rng):
    """Electronic noise, as strong in the dark as in the light."""
    return image + deviation * rng.standard_normal(image.shape, np.float32)


def _shot_noise(image, deviation, rng):
    """Photons that come by chance; ``deviation`` is that of white."""
    photons = deviation**-2
    return rng.poisson(image * photons) / photons


def _impulse_noise(image, share, rng):
    """A share of the values stuck at the least or the greatest."""
    chance = rng.random(image.shape, np.float32)
    return np.select([chance < share / 2, chance > 1 - share / 2], [0, 1], image)


# Blur of a lens, of the glass before it, and of motion.


def _defocus_blur(image, radius, rng):
    """Every point spread to a disc."""
    radius *= _unit(image)
    x, y = _offsets(radius)
    return _spread(image, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def _glass_blur(image, reach, rng):
    """Every point seen through rough glass, which shows another one within reach."""
    shifts = reach * _unit(image) * rng.uniform(-1, 1, (2, *image.shape[:2]))
    return cv2.GaussianBlur(_displace(image, shifts), (0, 0), 0.8 * _unit(image))


def _motion_blur(image, length, rng):
    """Every point spread to a line."""
    return _streak(image, length * _unit(image), rng.uniform(0, math.pi))


def _zoom_blur(image, zoom, rng):
    """A camera that comes closer while its shutter is open."""
    size = image.shape[1::-1]
    centre = [(side - 1) / 2 for side in size]
    moments = (cv2.getRotationMatrix2D(centre, 0, scale) for scale in np.linspace(1, 1 + zoom, 20))
    return sum(cv2.warpAffine(image, moment, size) for moment in moments) / 20


# Weather.


def _snow(image, amount, rng):
    """Flakes falling aslant before a scene grown pale."""
    cells = [math.ceil(side / (2 * _unit(image))) for side in image.shape[:2]]
    flakes = np.float32(rng.random(cells) < 0.05 * amount)
    flakes = cv2.resize(flakes, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    flakes = _streak(flakes, 4 * _unit(image), math.pi / 2 + rng.uniform(-0.6, 0.6))
    return _veil(image, 0.5 * amount, (0.85, 0.85, 0.85)) + 2 * flakes[..., None]


def _frost(image, amount, rng):
    """Ice crystals on the window, densest near its frame."""
    shape = image.shape[:2]
    crystals = 1 - np.abs(2 * clouds(rng, shape, 0.25 * min(shape)) - 1)
    y, x = (np.abs(np.linspace(-1, 1, side, dtype=np.float32)) for side in shape)
    frame = np.maximum(x, y[:, None]) ** 2
    return _veil(image, amount * (crystals**3 + frame), (0.8, 0.9, 1))


def _fog(image, density, rng):
    """Drifting fog between the camera and the scene."""
    shape = image.shape[:2]
    drift = clouds(rng, shape, 0.7 * min(shape))
    return _veil(image, density * (0.5 + 0.5 * drift), (0.85, 0.85, 0.85))


def _veil(image: np.ndarray, cover, colour: tuple[float, float, float]) -> np.ndarray:
    """Return an image behind a veil; ``cover`` is of one value or (H, W), opaque from 1 on."""
    cover = np.clip(cover, 0, 1)[..., None]
    return image + cover * (np.float32(colour) - image)


# Exposure, geometry and storage.


def _brightness(image, light, rng):
    return image + light


def _contrast(image, loss, rng):
    return image + loss * (image.mean() - image)


def _elastic_transform(image, reach, rng):
    """Every point moved along with its neighbours, as on a stretched rubber sheet."""
    noise = rng.uniform(-1, 1, (2, *image.shape[:2]))
    shifts = np.stack([cv2.GaussianBlur(axis, (0, 0), 8 * _unit(image)) for axis in noise])
    return _displace(image, reach * _unit(image) * shifts / np.abs(shifts).max())


def _pixelate(image, block, rng):
    """Square blocks of their mean colour."""
    size = image.shape[1::-1]
    cells = [max(1, round(side / (block * _unit(image)))) for side in size]
    small = cv2.resize(image, cells, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)


def _jpeg_compression(image, loss, rng):
    """A JPEG file of quality ``100 - loss``."""
    pixels = np.rint(255 * image).astype(np.uint8)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100 - loss])
    return np.float32(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]) / 255


# What they are made of; lengths are in pixels here.


def _offsets(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the x, (1, n), and y, (n, 1), of pixels from a central one to beyond ``reach``."""
    axis = np.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2)
    return axis[None], axis[:, None]


def _spread(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the image with every point spread as ``weights`` (n, n), of any sum, tell."""
    kernel = weights / weights.sum()
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _streak(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Return the image with every point spread to a line, one pixel wide."""
    x, y = _offsets(length / 2)
    along = np.abs(x * math.cos(angle) + y * math.sin(angle))
    across = np.abs(y * math.cos(angle) - x * math.sin(angle))
    return _spread(image, np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1))


def _displace(image: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the image as seen at each pixel's place plus its shifts down and right, (2, H, W)."""
    y, x = np.float32(np.indices(image.shape[:2]) + shifts)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.07, 0.11, 0.17, 0.25, 0.36)),
    "shot_noise": (_shot_noise, (0.12, 0.18, 0.26, 0.38, 0.52)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.1, 0.17, 0.27)),
    "defocus_blur": (_defocus_blur, (2, 3, 4.5, 6.5, 9)),
    "glass_blur": (_glass_blur, (1.2, 1.8, 2.6, 3.8, 5.5)),
    "motion_blur": (_motion_blur, (8, 12, 18, 26, 36)),
    "zoom_blur": (_zoom_blur, (0.08, 0.14, 0.2, 0.28, 0.38)),
    "snow": (_snow, (0.2, 0.35, 0.5, 0.7, 1)),
    "frost": (_frost, (0.2, 0.33, 0.46, 0.6, 0.75)),
    "fog": (_fog, (0.4, 0.53, 0.66, 0.8, 0.95)),
    "brightness": (_brightness, (0.1, 0.18, 0.27, 0.37, 0.5)),
    "contrast": (_contrast, (0.4, 0.55, 0.7, 0.82, 0.92)),
    "elastic_transform": (_elastic_transform, (3, 5, 8, 12, 17)),
    "pixelate": (_pixelate, (2.2, 3.2, 4.5, 6.5, 9)),
    "jpeg_compression": (_jpeg_compression, (72, 82, 90, 94, 97)),
}
"""Every corruption and its strengths at the five severities, which grow."""
