"""What a data set's pipeline does with an image or label map that cannot be used."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset, Compose
from PIL import Image
from torch.utils.data import Dataset

from lsnet_mm.errors import DataError, InputError

BAD_IMAGES = "bad_images.txt"  # in the work folder
JPEG = (".jpg", ".jpeg")
IN_A_ROW = 100  # images that are replaced by one: if so many are bad, something else is wrong

# What reading files and transforming images raise where the image is to blame. Anything else is an
# error in a transform, and keeps its traceback.
BLAMED = (OSError, ValueError, AssertionError, ZeroDivisionError, cv2.error)

HINT = (
    "tools/check_dataset.py lists all that is wrong with a data set. Mend it or leave it out; or "
    "--cfg-options on_bad_image=skip trains with other images in the place of bad ones"
)


def guard(dataset: Dataset, bad_images: Path | None) -> None:
    """Have a data set, and those that it wraps, tell of images that cannot be used.

    Args:
        dataset: Of mmengine's kind; others are left as they are.
        bad_images: File to list bad images in, others then take their place. None: the first one
            is a :class:`~lsnet_mm.errors.DataError`.
    """
    for leaf in _leaves(dataset):
        if isinstance(leaf.pipeline, Compose):
            leaf.pipeline = GuardedPipeline(leaf, bad_images)


def _leaves(dataset: Dataset) -> Iterator[BaseDataset]:
    """Yield the data sets that wrap no others."""
    inner = [getattr(dataset, name, None) for name in ("dataset", "_dataset")]
    inner += getattr(dataset, "datasets", None) or ()
    wrapped = [item for item in inner if isinstance(item, Dataset)]
    for item in wrapped:
        yield from _leaves(item)
    if not wrapped and isinstance(dataset, BaseDataset):
        yield dataset


class BadSampleError(Exception):
    """An image, or what belongs to it, that cannot be used: the message names the file."""


class GuardedPipeline(Compose):
    """A data set's pipeline that tells which image it fails on, or takes the next one instead.

    The next is that of the next index, from the first again after the last: which one does not
    depend on workers or chance.

    Args:
        dataset: The data set, with its pipeline.
        bad_images: As for :func:`guard`.
    """

    def __init__(self, dataset: BaseDataset, bad_images: Path | None) -> None:
        super().__init__(dataset.pipeline.transforms)
        self.dataset = dataset
        self.bad_images = bad_images

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Transform an image; None if a transform asks for another.

        Raises:
            DataError: If the image cannot be used, or with ``bad_images`` too many in a row.
        """
        index = data.get("sample_idx", 0)
        for _ in range(IN_A_ROW):
            try:
                return self._transformed(data)
            except BadSampleError as error:
                if self.bad_images is None:
                    raise DataError(f"{error}. {HINT}") from None
                with self.bad_images.open("a", encoding="utf-8") as file:
                    file.write(f"{error}\n")  # in one piece, whatever other processes write
            index = (index + 1) % len(self.dataset)
            data = self.dataset.get_data_info(index)
        raise DataError(f"{IN_A_ROW} images in a row cannot be used, see {self.bad_images}")

    def _transformed(self, data: dict[str, Any]) -> dict[str, Any] | None:
        paths = data.get("img_path"), data.get("seg_map_path")
        image, label_map = (path if isinstance(path, str) else None for path in paths)
        checks = [self._check_image, self._check_label_map]
        for transform in self.transforms:
            try:
                data = transform(data)
            except BLAMED as error:
                raise BadSampleError(_explain(image, label_map, transform, error)) from error
            if data is None:
                return None
            if image and type(transform).__name__ == "LoadImageFromFile":
                mend_deep_grey(data, image, transform)
            checks = [check for check in checks if not check(data, image, label_map)]
        return data

    @staticmethod
    def _check_image(data: dict[str, Any], image: str, label_map: str | None) -> bool:
        """Check an image once it is loaded, and tell whether it is."""
        if "ori_shape" not in data or "img" not in data:
            return False
        if label_map and "reduce_zero_label" in data and 1 in data["ori_shape"][:2]:
            raise BadSampleError(
                "{}: is {}x{}: mmseg cannot read label maps of a single row or column".format(
                    image, *data["ori_shape"][1::-1]
                )
            )
        if _ends_early(image) and (what := _damage(image)):
            raise BadSampleError(f"{image}: {what}")
        found, annotated = data["ori_shape"][:2], (data.get("height"), data.get("width"))
        if None not in annotated and found != annotated:
            raise BadSampleError(
                "{}: is {}x{}, but its annotations are of an image of {}x{} (turned by EXIF data? "
                'color_type="color_ignore_orientation" of LoadImageFromFile leaves it as '
                "stored)".format(image, *found[::-1], *annotated[::-1])
            )
        return True

    def _check_label_map(self, data: dict[str, Any], image: str, label_map: str | None) -> bool:
        """Check mmseg's label map once it is loaded, and tell whether it is."""
        labels, classes = data.get("gt_seg_map"), self.dataset.metainfo.get("classes")
        if labels is None or "reduce_zero_label" not in data:
            return False
        # Unlike the checker, which looks at the file, this costs no time that one would notice.
        wrong = labels.ndim != 2 or labels.shape != data["ori_shape"][:2] or _is_deep(label_map)
        if classes and not wrong:
            ignored = (self.dataset.ignore_index, 255)[data["reduce_zero_label"]]
            wrong = ((labels >= len(classes)) & (labels != ignored)).any()
        if wrong:
            from lsnet_mm.check.semantic import inspect_labelled, read_meaning  # it imports engine

            meaning = read_meaning(self.dataset, len(classes or ()))
            problems = inspect_labelled(meaning, (image, label_map)).problems
            if classes and problems:
                raise BadSampleError(f"{label_map}: {problems[0].kind}: {problems[0].what}")
        return True


def mend_deep_grey(data: dict[str, Any], path: str, load: Any) -> None:
    """Replace an image of 16 bits of grey that was read through Pillow, which makes it white.

    Args:
        data: With ``img``, BGR, uint8 (H, W, 3).
        path: The file.
        load: The transform that read it.
    """
    jpeg = path.lower().endswith(JPEG)  # of 8 bits
    if getattr(load, "imdecode_backend", "cv2") != "pillow" or jpeg or not osp.isfile(path):
        return
    from lsnet_mm.check.files import as_rgb  # here, as it imports engine

    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            data["img"] = np.ascontiguousarray(np.asarray(as_rgb(image))[..., ::-1])


def _explain(image: str, label_map: str | None, transform: Any, error: Exception) -> str:
    """Say which of the files is damaged and how, or else what a transform makes of it."""
    for path in (image, label_map):
        if path and "://" not in path and (what := _damage(path)):
            return f"{path}: {what}"
    what = str(error).strip() or repr(error)
    return f"{image or 'an image'}: {type(transform).__name__} fails on it: {what}"


def _damage(path: str) -> str:
    """What is wrong with an image file; nothing if it can be read."""
    from lsnet_mm.check.files import inspect_image  # here, as it imports engine

    return "".join(problem.what for problem in inspect_image(path).problems)


def _ends_early(path: str | None) -> bool:
    """Tell whether a JPEG lacks its end, for which decoders may fill in grey pixels."""
    if not path or not path.lower().endswith(JPEG) or not osp.isfile(path):
        return False
    with open(path, "rb") as file:
        file.seek(-2, 2)
        return file.read() != b"\xff\xd9"


def _is_deep(path: str | None) -> bool:
    """Tell whether a label map has values that mmseg, which keeps 8 bits, would cut off."""
    if not path or not osp.isfile(path):
        return False
    with Image.open(path) as image:
        return image.mode[0] in "IF" and bool((np.asarray(image) > 255).any())


def summary(bad_images: Path) -> list[str]:
    """Return lines on the bad images of a run: how many, and each with how often it was met."""
    if not bad_images.is_file():
        return ["no bad images"]
    counts = Counter(bad_images.read_text(encoding="utf-8").splitlines())
    return [
        f"{len(counts)} bad images, others took their place {counts.total()} times; "
        f"see {bad_images}:",
        *(f"  {line} ({count} times)" for line, count in sorted(counts.items())),
    ]


def check_setting(value: Any) -> None:
    """Check ``on_bad_image``; raises InputError unless it is ``'stop'`` or ``'skip'``."""
    if value not in ("stop", "skip"):
        raise InputError(f"on_bad_image must be 'stop' or 'skip', got {value!r}")
