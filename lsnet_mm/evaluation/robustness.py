"""How a classifier of ImageNet does on its robustness sets: ImageNet-C, -A and -R."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

# AlexNet's errors, by which corruption errors are divided: averages over the five severities,
# 0 to 1 (Hendrycks and Dietterich, ICLR 2019).
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
SEVERITIES = (1, 2, 3, 4, 5)

Outcome = tuple[str, int, bool]  # an image's corruption and severity, and whether it was told right
Errors = Mapping[str, Mapping[int, float]]  # share of wrong answers by corruption and severity


@METRICS.register_module()
class MeanCorruptionError(BaseMetric):
    """ImageNet-C's mean corruption error and what goes into it, in percent, also as a table.

    For every corruption ``{corruption}_top1``, averaged over severities, and ``{corruption}_ce``,
    the error averaged over severities in relation to AlexNet's; their means over the corruptions
    are ``top1`` and ``mCE``. Severities count alike, however many images they have. If there are
    images of fewer corruptions or severities, the averages are over those, and the log says so.

    Samples carry ``corruption`` and ``severity``, from
    :class:`~lsnet_mm.datasets.imagenet_variants.ImageNetC` by ``meta_keys`` of ``PackInputs``.
    """

    default_prefix = "imagenet-c"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the outcome of every sample of a batch."""
        right = _told_right(data_samples, self.dataset_meta["subset"])
        self.results += [
            (sample["corruption"], sample["severity"], is_right)
            for sample, is_right in zip(data_samples, right, strict=True)
        ]

    def compute_metrics(self, results: list[Outcome]) -> dict[str, float]:
        """Average the outcomes of all samples, and log the table."""
        errors = severity_errors(results)
        means = {name: fmean(by_severity.values()) for name, by_severity in errors.items()}
        top1 = {name: 100 * (1 - error) for name, error in means.items()}
        ce = {name: 100 * error / ALEXNET_ERRORS[name] for name, error in means.items()}
        print_log(f"\n{_table(errors, top1, ce)}{_shortfall(errors)}", "current")
        return {
            **{f"{name}_top1": value for name, value in top1.items()},
            **{f"{name}_ce": value for name, value in ce.items()},
            "top1": fmean(top1.values()),
            "mCE": fmean(ce.values()),
        }


@METRICS.register_module()
class SubsetAccuracy(BaseMetric):
    """Top-1 accuracy in percent where only some of the classes may be answered.

    Their labels are the data set's ``metainfo['subset']``, as
    :class:`~lsnet_mm.datasets.imagenet_variants.ImageNetVariant` sets it.
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep whether each sample of a batch was told right."""
        self.results += _told_right(data_samples, self.dataset_meta["subset"])

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Average over all samples."""
        return {"top1": 100 * fmean(results)}


def severity_errors(outcomes: Iterable[Outcome]) -> dict[str, dict[int, float]]:
    """Share of wrong answers, 0 to 1, by corruption and severity, in the benchmark's order.

    Corruptions and severities without images are left out.
    """
    counts = Counter(outcomes)
    errors: dict[str, dict[int, float]] = {}
    for name in ALEXNET_ERRORS:
        for severity in SEVERITIES:
            wrong, right = counts[name, severity, False], counts[name, severity, True]
            if wrong + right:
                errors.setdefault(name, {})[severity] = wrong / (wrong + right)
    return errors


def _told_right(data_samples: Sequence[dict[str, Any]], subset: Sequence[int]) -> list[bool]:
    """Whether the best score among the labels of ``subset`` is the true label's, per sample.

    From the scores: test-time augmentation averages these, and leaves labels of a single view.
    """
    scores = torch.stack([sample["pred_score"] for sample in data_samples]).cpu()
    labels = torch.cat([sample["gt_label"] for sample in data_samples]).cpu()
    allowed = torch.as_tensor(subset)
    return (allowed[scores[:, allowed].argmax(1)] == labels).tolist()


def _table(errors: Errors, top1: Mapping[str, float], ce: Mapping[str, float]) -> str:
    """Top-1 by corruption and severity, and means of the rows and columns."""
    columns = {
        s: [100 * (1 - by_severity[s]) for by_severity in errors.values() if s in by_severity]
        for s in SEVERITIES
    }
    lines = [_line("top-1 at severity", *map(str, SEVERITIES), "mean", "CE")]
    for name, by_severity in errors.items():
        cells = [_percent(100 * (1 - by_severity[s])) if s in by_severity else "-" for s in columns]
        lines.append(_line(name, *cells, _percent(top1[name]), _percent(ce[name])))
    means = [_percent(fmean(column)) if column else "-" for column in columns.values()]
    means += [_percent(fmean(top1.values())), _percent(fmean(ce.values()))]
    return "\n".join([*lines, _line("mean", *means)])


def _percent(value: float) -> str:
    return f"{value:.2f}"


def _line(name: str, *cells: str) -> str:
    return f"{name:<18}" + "".join(f"{cell:>8}" for cell in cells)


def _shortfall(errors: Errors) -> str:
    """What the images lack of the benchmark, as a line of its own, or nothing."""
    lacking = sum(len(SEVERITIES) - len(errors.get(name, ())) for name in ALEXNET_ERRORS)
    if not lacking:
        return ""
    severities = sorted({s for by_severity in errors.values() for s in by_severity})
    return (
        f"\nmCE over {len(errors)} of {len(ALEXNET_ERRORS)} corruptions, severities "
        f"{', '.join(map(str, severities))}: not comparable with published numbers"
    )
