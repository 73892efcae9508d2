"""Training curves of the authors' released logs (github.com/jameslahm/lsnet), as data."""

from typing import NamedTuple

SOURCE = "the training logs released with LSNet (CVPR 2025), github.com/jameslahm/lsnet"


class Published(NamedTuple):
    """What the authors' run of a config went through.

    Attributes:
        length: Epochs (COCO) or iterations (ADE20K) of training.
        batch: Images of a step, on all GPUs together.
        metrics: Validation results in per cent, by name and epoch or iteration.
        epoch_losses: Mean training loss by epoch.
        losses: Training loss by iteration: the mean of the 50 iterations up to it.
        note: What differs between the authors' run and the config.
    """

    length: int
    batch: int
    metrics: dict[str, dict[int, float]]
    epoch_losses: dict[int, float]
    losses: dict[int, float]
    note: str = ""


def _numbers(text: str, step: int = 1) -> dict[int, float]:
    return {step * i: float(number) for i, number in enumerate(text.split(), start=1)}


def _coco(losses: str, box: str, first: str, mask: str = "") -> Published:
    metrics = {"box AP": _numbers(box), **({"mask AP": _numbers(mask)} if mask else {})}
    return Published(12, 16, metrics, _numbers(losses), _numbers(first, 50))


def _ade20k(miou: str, losses: str) -> Published:
    steps = (50, 1000, 4000, 8000, 20000, 40000)
    by_step = dict(zip(steps, map(float, losses.split()), strict=True))
    return Published(40000, 32, {"mIoU": _numbers(miou, 4000)}, {}, by_step)


CURVES = {
    "retinanet_lsnet_t_coco": _coco(
        losses=".871 .677 .624 .593 .571 .554 .542 .531 .469 .454 .447 .437",
        box="21.1 25.8 27.5 29.1 29.4 29.4 29.8 30.8 33.7 34.1 34.0 34.2",
        first="1.916 1.755 1.582",
    ),
    "retinanet_lsnet_s_coco": _coco(
        losses=".841 .645 .590 .559 .536 .519 .506 .494 .432 .417 .409 .399",
        box="23.3 27.8 29.7 31.2 32.2 31.8 32.5 33.3 36.2 36.4 36.4 36.5",
        first="1.920 1.755 1.585",
    ),
    "retinanet_lsnet_b_coco": _coco(
        losses="173.9 .924 .790 .708 .629 .573 .535 .507 .430 .411 .401 .388",
        box="1.9 11.3 17.5 23.9 29.3 29.3 32.6 34.5 38.6 38.8 39.1 39.2",
        first="22642 1.944 1.923",
    ),
    "mask_rcnn_lsnet_t_coco": _coco(
        losses="1.211 .989 .932 .898 .874 .856 .841 .828 .773 .760 .754 .745",
        box="20.7 25.5 27.4 28.9 30.1 30.6 30.8 31.4 34.7 34.8 34.8 35.0",
        mask="21.4 25.2 26.9 27.9 29.1 29.7 29.5 30.0 32.4 32.6 32.6 32.7",
        first="6.606 2.380 1.777",
    ),
    "mask_rcnn_lsnet_s_coco": _coco(
        losses="1.192 .956 .897 .862 .836 .818 .804 .791 .734 .721 .715 .705",
        box="23.4 27.4 30.3 31.5 33.0 33.3 33.7 33.5 37.1 37.2 37.3 37.4",
        mask="23.3 27.0 29.6 30.0 31.7 32.0 32.2 32.1 34.5 34.8 34.9 34.8",
        first="6.928 2.501 1.790",
    ),
    "mask_rcnn_lsnet_b_coco": _coco(
        losses="2.555 1.091 .979 .901 .847 .810 .784 .761 .694 .678 .668 .657",
        box="13.9 21.1 27.3 31.1 34.3 35.5 36.3 36.8 40.8 40.6 40.9 40.8",
        mask="13.0 20.8 26.5 29.6 32.6 33.9 34.6 34.8 37.6 37.6 37.8 37.8",
        first="59.5 4.10 114.4",
    ),
    "fpn_lsnet_t_ade20k": _ade20k(
        miou="28.0 32.3 35.2 36.2 37.3 37.8 38.5 38.5 39.5 40.1",
        losses="2.718 .999 .767 .667 .455 .334",
    ),
    "fpn_lsnet_s_ade20k": _ade20k(
        miou="30.0 34.6 37.2 37.9 38.4 40.4 39.6 40.6 41.3 41.6",
        losses="2.724 .979 .733 .618 .412 .298",
    ),
    "fpn_lsnet_b_ade20k": _ade20k(
        miou="32.6 35.8 38.7 39.2 39.7 41.0 42.0 42.6 42.9 43.1",
        losses="2.721 .926 .685 .587 .356 .234",
    ),
}
for _kind in ("retinanet", "mask_rcnn"):
    CURVES[f"{_kind}_lsnet_b_stable_coco"] = CURVES[f"{_kind}_lsnet_b_coco"]._replace(
        note="The published run had no gradient clipping, and losses that exploded at its start."
    )
