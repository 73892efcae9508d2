"""Damages to data, and unusual images."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def picture(data: Path, number: int, split: str = "train") -> Path:
    return data / f"{split}2017" / f"{number:012d}.jpg"


def with_annotations(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Damage to both annotation files."""

    def damage(data: Path) -> None:
        for path in (data / "annotations").glob("*.json"):
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))

    return damage


def with_images(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Damage to all images but one of each split: filters may leave some out."""

    def damage(data: Path) -> None:
        for split in ("train", "val"):
            for path in sorted((data / f"{split}2017").glob("*.jpg"))[1:]:
                change(path)

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pad(path: Path) -> None:
    """As a download that was broken off leaves it, in a file of full length."""
    noise = np.random.default_rng(0).integers(0, 256, cv2.imread(str(path)).shape, np.uint8)
    Image.fromarray(noise).save(path)
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:half] + bytes(half))


def truncate(data: Path) -> None:
    for path in (data / "annotations").glob("*.json"):
        cut(path)


def turn(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


def unusual(folder: Path, size: tuple[int, int]) -> dict[str, Path]:
    """Write images of many kinds, of one size (width, height) as training sees them."""
    across, down = np.meshgrid(*(np.linspace(0, 255, side).astype(np.uint8) for side in size))
    rgb, grey = np.stack([across, down, 255 - across], -1), across
    upright = Image.fromarray(rgb)
    images = {
        "rgb.png": upright,
        "grey.png": Image.fromarray(grey),
        "grey16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "cmyk.jpg": upright.convert("CMYK"),
        "alpha.png": Image.fromarray(np.dstack([rgb, grey])),
        "palette.png": upright.quantize(64),
        "bits.png": Image.fromarray(grey > 127),
        "turned.png": upright.transpose(Image.Transpose.ROTATE_90),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        image.save(folder / name, **(dict(exif=exif) if name == "turned.png" else {}))
    deep = folder / "rgb16.png"
    assert cv2.imwrite(str(deep), rgb[..., ::-1].astype(np.uint16) * 257)
    return {name: folder / name for name in [*images, deep.name]}
