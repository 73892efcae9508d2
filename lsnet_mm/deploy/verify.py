"""Whether an exported network gives PyTorch's results."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from lsnet_mm.errors import InputError

from .runtime import Runtime

SAME_BOX = 0.9  # IoU from which boxes of two results are the same


@torch.no_grad()
def compare(
    network: nn.Module,
    runtime: Runtime,
    inputs: Sequence[tuple[Tensor, ...]],
    tolerance: float | None = None,
) -> dict[str, float]:
    """Run both on the same inputs, print the largest difference of every output and return them.

    Classes' scores and masks differ by their absolute difference, logits by that over their
    standard deviation, label maps by the share of pixels that disagree, and detections by the
    share that has no counterpart: of the same label, an IoU of 0.9 or more, and a score within
    the tolerance. Boxes that do correspond are printed in pixels.

    Args:
        network: From :func:`lsnet_mm.deploy.wrappers.graph`.
        runtime: The exported file, loaded.
        inputs: To compare on.
        tolerance: Largest difference allowed; by default 0.001, for float16 0.02.

    Raises:
        InputError: If a difference is beyond it.
    """
    halved = runtime.metadata["precision"] == "float16"
    limit = tolerance if tolerance is not None else 2e-2 if halved else 1e-3
    worst: dict[str, float] = {}
    seen = False
    for sample in inputs:
        want = network(*sample)
        want = want if isinstance(want, tuple) else (want,)
        seen |= "boxes" not in network.outputs or bool((want[1] > 0).any())
        given = runtime(*(t.numpy() for t in sample))
        got = [torch.from_numpy(np.ascontiguousarray(t)) for t in given]
        pairs = dict(zip(network.outputs, zip(got, want, strict=True), strict=True))
        found = _detections(pairs, limit) if "boxes" in pairs else _maps(pairs)
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
    print("largest difference to PyTorch: " + ", ".join(f"{k} {v:.2g}" for k, v in worst.items()))
    if not seen:
        print("the network finds nothing on these images: compare it on some of yours, --samples")
    beyond = {k: v for k, v in worst.items() if k != "pixels" and not v <= limit}
    if beyond:
        raise InputError(
            "the exported network does not give PyTorch's results: "
            + ", ".join(f"{k} differ by {v:.2g}, allowed are {limit:g}" for k, v in beyond.items())
            + "; nothing was kept (--tolerance allows more)"
        )
    return worst


def _maps(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    found = {}
    for name, (got, want) in pairs.items():
        if name == "labels":
            found["pixels' labels"] = (got != want).float().mean().item()
        else:
            scale = want.std().item() if name == "logits" else 1.0
            found[name] = (got - want).abs().max().item() / scale
    return found


def _detections(pairs: dict[str, tuple[Tensor, Tensor]], limit: float) -> dict[str, float]:
    """Match the detections of two results, both ways."""
    (got, want), (scores, wanted), (labels, right) = (
        pairs[name] for name in ("boxes", "scores", "labels")
    )
    same = box_iou(got, want) >= SAME_BOX
    same &= (scores[:, None] - wanted).abs() <= limit
    same &= (labels[:, None] == right) & (scores[:, None] > 0) & (wanted > 0)
    count = max(int((wanted > 0).sum()), int((scores > 0).sum()))
    matched = min(int(same.any(0).sum()), int(same.any(1).sum()))
    rows, columns = same.nonzero(as_tuple=True)
    distance = (got[rows] - want[columns]).abs().amax(1)
    nearest = torch.full((len(got),), torch.inf).scatter_reduce(0, rows, distance, "amin")
    found = {"detections": 1 - matched / count if count else 0.0}
    if len(rows):
        found["pixels"] = nearest[nearest.isfinite()].max().item()
    if "masks" in pairs and len(rows):
        close = distance < 1  # the same box's, not that of one beside it
        masks, wished = pairs["masks"]
        difference = (masks[rows] - wished[columns]).abs().amax((1, 2))[close]
        found["masks"] = difference.max().item() if len(difference) else 0.0
    return found
