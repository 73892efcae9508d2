"""From a model's file to results for images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lsnet_mm.check.files import as_rgb
from lsnet_mm.errors import InputError
from lsnet_mm.loading import guarded_loading

from .networks import Prepared, open_network
from .results import Classes, Detections, LabelMap, Result

KINDS = {"detection": Detections, "segmentation": LabelMap, "classification": Classes}

ImageLike = str | Path | Image.Image | np.ndarray


class Predictor:
    """A trained network as a function of images.

    ::

        from lsnet_mm.inference import Predictor

        model = Predictor("configs/retinanet_lsnet_t_coco.py", "lsnet_t_retinanet.pth")
        result = model("image.jpg")
        result.draw("drawn.jpg")

    Args:
        model: A config of mmdet, mmseg or mmpretrain, which is run; a checkpoint of
            ``tools/train.py``, which holds its config; or a file of ``tools/export.py``: .onnx,
            .xml or .pt2.
        checkpoint: Weights for a config, a file or URL; published ones fit too.
        device: To compute on, e.g. ``"cuda:1"``; by default a GPU if there is one. Exported files
            run on the CPU.
        cfg_options: Changes of the config, each as ``"key=value"``.
        trust_checkpoint: Load files even if that could run a program hidden in them. By default
            they are read as data; a .pt2 file is a program and always has to be trusted.

    Raises:
        InputError: If these cannot be used, or do not fit together.

    Attributes:
        task: ``"detection"``, ``"segmentation"`` or ``"classification"``.
        classes: Names of the classes; empty if not known.
    """

    def __init__(
        self,
        model: str | Path,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        cfg_options: Sequence[str] | None = None,
        trust_checkpoint: bool = False,
    ) -> None:
        with guarded_loading(trust_checkpoint):
            self._network = open_network(model, checkpoint, device, cfg_options)
        self.task = self._network.task
        self.classes = self._network.classes

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], batch_size: int = 1
    ) -> Result | list[Result]:
        """Predict for one image, or for a list of them.

        Args:
            images: A file, a PIL image, or an array as OpenCV has them: BGR, uint8 (H, W, 3). Only
                files may be turned as their EXIF data say, if the config has it so.
            batch_size: Of images of a list that go through the network together; those that are of
                one size do.

        Returns:
            A :class:`Detections`, :class:`LabelMap` or :class:`Classes`; a list for a list.

        Raises:
            InputError: If an image cannot be read.
        """
        if not isinstance(images, list | tuple):
            return self.predict([self.prepare(images)])[0]
        starts = range(0, len(images), batch_size)
        batches = ([self.prepare(i) for i in images[k : k + batch_size]] for k in starts)
        return [result for batch in batches for result in self.predict(batch)]

    def prepare(self, image: ImageLike, name: str = "the image") -> Prepared:
        """Read an image and prepare it for the network.

        Args:
            image: As for calling.
            name: For errors; files have their own.

        Raises:
            InputError: If it cannot be read.
        """
        if isinstance(image, str | Path):
            return self._network.prepare(self._network.read(image), str(image))
        if isinstance(image, Image.Image):
            image = np.ascontiguousarray(np.asarray(as_rgb(image))[..., ::-1])
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
            what = getattr(image, "shape", type(image).__name__)
            raise InputError(f"{name} must be a file, a PIL image or an array (H, W, 3): {what}")
        if image.dtype != np.uint8:
            raise InputError(f"{name} must be of uint8, 0 to 255, but is of {image.dtype}")
        return self._network.prepare(image, name)

    def predict(self, images: Sequence[Prepared]) -> list[Result]:
        """Predict for prepared images, in order; those of one size in one go."""
        found: dict[int, Result] = {}
        for group in _of_one_size(images):
            answers = self._network([images[i] for i in group])
            for i, answer in zip(group, answers, strict=True):
                found[i] = KINDS[self.task](
                    images[i].image, self.classes, self._network.palette, **answer
                )
        return [found[i] for i in range(len(images))]


def _of_one_size(images: Sequence[Prepared]) -> Iterator[list[int]]:
    """Indices of images, by size: padding to a common one would change results."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        groups.setdefault(image.size, []).append(i)
    yield from groups.values()
