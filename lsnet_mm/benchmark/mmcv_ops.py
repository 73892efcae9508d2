"""The stand-in for mmcv's compiled ops beside a compiled mmcv, in one process: results and speed.

Those ops that a compiled mmcv has for CPUs, at the sizes that detectors and segmentors have for
images of 800 x 1344 or 512 x 512 pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

import mmcv._ext
import torch
from torch import Tensor
from tqdm import tqdm

from lsnet_mm.compat.mmcv_ext import NAME, MMCVExtFinder, MMCVExtLoader
from lsnet_mm.errors import InputError

from .measure import tensors, time_in_turn

SIZE = (800, 1344)  # height and width of the images
STRIDE = 8  # of the feature maps
CHANNELS = 256


class Case(NamedTuple):
    """A call of an op.

    Attributes:
        module: Of ``mmcv.ops``, the one that calls the extension.
        function: Of that module; its name.
        inputs: Tensors; those that need gradients get them.
        options: Further arguments, by place.
    """

    module: str
    function: str
    inputs: Sequence[Tensor]
    options: Sequence[Any] = ()


def cases() -> dict[str, Case]:
    """What is measured, by the names of ``mmcv.ops``; on the CPU, in float32."""
    boxes, rotated = _boxes(2000), _rotated(2000)
    corners = _corners(rotated)
    scores = torch.rand(2000)
    few = torch.cat([boxes[:500], scores[:500, None]], 1)
    features = torch.randn(1, CHANNELS, *(side // STRIDE for side in SIZE)).requires_grad_()
    rois = torch.cat([torch.zeros(512, 1), boxes[:512]], 1)
    rotated_rois = torch.cat([torch.zeros(512, 1), rotated[:512]], 1)
    roi_align = (7, 1 / STRIDE, 0)
    psa_mask = torch.randn(1, 49 * 49, 32, 32).requires_grad_()
    x = torch.randn(1, CHANNELS, 50, 84).requires_grad_()
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3).requires_grad_()
    bias = torch.randn(CHANNELS).requires_grad_()
    offset = (2 * torch.randn(1, 18, 50, 84)).requires_grad_()
    mask = torch.rand(1, 9, 50, 84).requires_grad_()
    return {
        "nms": Case("nms", "nms", (boxes, scores), (0.7,)),
        "soft_nms": Case("nms", "soft_nms", (few[:, :4], few[:, 4]), (0.3, 0.5, 1e-3, "gaussian")),
        "nms_match": Case("nms", "nms_match", (few,), (0.5,)),
        "nms_rotated": Case("nms", "nms_rotated", (rotated, scores), (0.5,)),
        "nms_quadri": Case("nms", "nms_quadri", (corners, scores), (0.5,)),
        "bbox_overlaps": Case("bbox", "bbox_overlaps", (boxes, boxes[:100])),
        "box_iou_rotated": Case("box_iou_rotated", "box_iou_rotated", (rotated, rotated[:100])),
        "box_iou_quadri": Case("box_iou_quadri", "box_iou_quadri", (corners, corners[:100])),
        "RoIAlign": Case("roi_align", "roi_align", (features, rois), (*roi_align, "avg", True)),
        "RoIAlign, max": Case(
            "roi_align", "roi_align", (features, rois), (*roi_align, "max", True)
        ),
        "RoIAlignRotated": Case(
            "roi_align_rotated", "roi_align_rotated", (features, rotated_rois), (*roi_align, True)
        ),
        "PSAMask, collect": Case("psa_mask", "psa_mask", (psa_mask,), (0, (49, 49))),
        "PSAMask, distribute": Case("psa_mask", "psa_mask", (psa_mask,), (1, (49, 49))),
        "DeformConv2d": Case("deform_conv", "deform_conv2d", (x, offset, weight), (1, 1)),
        "ModulatedDeformConv2d": Case(
            "modulated_deform_conv",
            "modulated_deform_conv2d",
            (x, offset, mask, weight, bias),
            (1, 1),
        ),
    }


def compare(repeats: int) -> list[dict[str, Any]]:
    """Measure every op that a compiled mmcv has for CPUs, forward and backward.

    Args:
        repeats: Timings of each.

    Returns:
        What :func:`rows` yields.

    Raises:
        InputError: If mmcv here is not compiled.
    """
    if not is_compiled(mmcv._ext):
        raise InputError(
            "--mmcv-ops compares with mmcv's compiled ops, and mmcv here has none: build it for "
            "this torch first (https://mmcv.readthedocs.io/en/latest/get_started/build.html)"
        )
    extensions = {"compiled": mmcv._ext, "stand_in": stand_in()}
    torch.manual_seed(0)
    progress = tqdm(cases().items(), unit="op", disable=None)
    return [row for name, case in progress for row in rows(name, case, extensions, repeats)]


def is_compiled(extension: ModuleType) -> bool:
    """Whether ``mmcv._ext`` is mmcv's own, not the stand-in."""
    return not isinstance(extension.__spec__.loader, MMCVExtLoader)


def stand_in() -> ModuleType:
    """The stand-in as a module of its own, whether mmcv is compiled or not."""
    spec = MMCVExtFinder().find_spec(NAME, None)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(
    name: str, case: Case, extensions: dict[str, ModuleType], repeats: int
) -> Iterator[dict[str, Any]]:
    """Call an op with two extensions.

    Args:
        name: For the rows.
        case: What to call.
        extensions: ``"compiled"`` and ``"stand_in"``.
        repeats: Timings of each.

    Yields:
        A row for the forward and, if there are gradients, one for the backward pass: milliseconds
        of both, how many times faster the stand-in is, and :func:`difference` of the results.
    """
    module = import_module(f"mmcv.ops.{case.module}")
    function = getattr(module, case.function)

    def call(extension: ModuleType, leaves: Sequence[Tensor] = case.inputs) -> list[Tensor]:
        with _using(module, extension):
            return _tensors(function(*leaves, *case.options))

    def differentiate(extension: ModuleType, output: Tensor, grad: Tensor) -> list[Tensor]:
        with _using(module, extension):
            return list(torch.autograd.grad(output, leaves, grad, retain_graph=True))

    detached = [tensor.detach() for tensor in case.inputs]
    forward = {key: lambda e=e: call(e, detached) for key, e in extensions.items()}
    yield _row(name, "forward", forward, repeats)
    leaves = [tensor for tensor in case.inputs if tensor.requires_grad]
    if leaves:
        outputs = {key: call(extension)[0] for key, extension in extensions.items()}
        grad = torch.randn_like(outputs["compiled"])
        backward = {
            key: lambda e=e, y=outputs[key]: differentiate(e, y, grad)
            for key, e in extensions.items()
        }
        yield _row(name, "backward", backward, repeats)


def difference(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Greatest difference of any tensor, relative to its greatest number; inf of other shapes."""
    if [t.shape for t in got] != [t.shape for t in want]:
        return float("inf")
    pairs = [(g.double(), w.double()) for g, w in zip(got, want, strict=True) if w.numel()]
    return max((((g - w).abs().max() / w.abs().max()).item() for g, w in pairs), default=0.0)


def _row(
    name: str, direction: str, calls: dict[str, Callable[[], list[Tensor]]], repeats: int
) -> dict[str, Any]:
    times = time_in_turn(calls, repeats, torch.device("cpu"))
    compiled, ours = (1e3 * times[key].median for key in ("compiled", "stand_in"))
    return {
        "op": name,
        "direction": direction,
        "compiled_ms": compiled,
        "stand_in_ms": ours,
        "speedup": compiled / ours,
        "difference": difference(calls["stand_in"](), calls["compiled"]()),
    }


def _tensors(output: Any) -> list[Tensor]:
    """What an op returned; nms_match gives lists of indices."""
    if isinstance(output, list):
        return [torch.as_tensor(group) for group in output]
    return tensors(output if isinstance(output, tuple) else [output])


@contextmanager
def _using(module: ModuleType, extension: ModuleType) -> Iterator[None]:
    """Let a module of ``mmcv.ops`` call another extension."""
    before, module.ext_module = module.ext_module, extension
    try:
        yield
    finally:
        module.ext_module = before


def _boxes(count: int) -> Tensor:
    """Boxes as a detector proposes them, several around each of 100 places: (count, 4)."""
    height, width = SIZE
    places = torch.rand(100, 2) * torch.tensor([width, height])
    sizes = 16 * 2 ** (4 * torch.rand(100, 2))
    choice = torch.randint(100, (count,))
    centres = places[choice] + 0.2 * sizes[choice] * torch.randn(count, 2)
    half = sizes[choice] * torch.exp(0.2 * torch.randn(count, 2)) / 2
    return torch.cat([centres - half, centres + half], 1)


def _rotated(count: int) -> Tensor:
    """The same as (centre x, centre y, width, height, angle in radians): (count, 5)."""
    boxes = _boxes(count)
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(low + high) / 2, high - low, 3 * torch.rand(count, 1) - 1.5], 1)


def _corners(rotated: Tensor) -> Tensor:
    """Corners of rotated boxes in order: (N, 8)."""
    sides = rotated[:, None, 2:4] * torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    cos, sin = rotated[:, 4].cos()[:, None], rotated[:, 4].sin()[:, None]
    x = rotated[:, None, 0] + cos * sides[..., 0] - sin * sides[..., 1]
    y = rotated[:, None, 1] + sin * sides[..., 0] + cos * sides[..., 1]
    return torch.stack([x, y], -1).flatten(1)
