"""Whether a run is on track: compared with the published one at the same epoch or iteration."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmengine.config import Config

from .curves import Curve, History
from .published import Published

METRIC_TOLERANCE = 1.5  # points that a metric may lack on the way
FINAL_TOLERANCE = 0.5  # and at the end
EPOCH_LOSS_TOLERANCE = 0.05  # share by which an epoch's mean loss may be higher
LOSS_TOLERANCE = 0.15  # and the loss of 50 iterations, which is noisy
WINDOW = 50  # iterations that a published loss is the mean of


class Comparison(NamedTuple):
    """A number of this run beside the published one.

    Attributes:
        what: The metric or loss.
        where: Epoch or iteration.
        ours: This run's.
        theirs: The published one.
        bound: The worst that counts as on track.
        fine: Whether ``ours`` is no worse than that.
    """

    what: str
    where: str
    ours: float
    theirs: float
    bound: float
    fine: bool


class Verdict(NamedTuple):
    """What the comparison comes to.

    Attributes:
        status: ``"good"``, ``"bad"`` or ``"none"``.
        title: In a few words.
        comparisons: What it rests on.
        notes: What to know when reading it.
    """

    status: str
    title: str
    comparisons: list[Comparison]
    notes: list[str]


def judge(
    history: History,
    tested: Mapping[str, float],
    published: Published | None,
    cfg: Config,
    processes: int | None,
) -> Verdict:
    """Compare a run with the published one of its config.

    Args:
        history: The run.
        tested: Test results by name, for a folder without training; else not looked at.
        published: None if there is no published curve.
        cfg: The run's config.
        processes: That trained together, None if not known.
    """
    if published is None:
        title = "There is no published curve for this config: nothing to compare with."
        return Verdict("none", title, [], [])
    trained = bool(history.runs)
    found = list(_compare(history, published) if trained else _compare_final(tested, published))
    notes = [published.note] if published.note else []
    notes += [
        f"It departs from the published recipe: {d}."
        for d in _departures(cfg, published, processes if trained else None)
    ]
    if not found:
        return Verdict("none", "There is nothing yet to compare with the published run.", [], notes)
    if all(comparison.fine for comparison in found):
        return Verdict("good", "On track: no worse than published, within tolerance.", found, notes)
    worse = ", ".join(comparison.what for comparison in found if not comparison.fine)
    return Verdict("bad", f"Not on track: {worse} worse than published.", found, notes)


def _compare(history: History, published: Published) -> Iterator[Comparison]:
    """Yield a comparison at the last common step for each metric, and one for the loss."""
    unit = "epoch" if history.by_epoch else "iteration"
    for name, curve in published.metrics.items():
        ours = history.metrics.get(name, {})
        common = [step for step in curve if step in ours]
        if common:
            step = max(common)
            yield _metric(name, f"{unit} {step}", ours[step], curve[step], step == max(curve))
    epochs = history.epoch_losses()
    common = [epoch for epoch in published.epoch_losses if epoch in epochs]
    if common:
        yield _loss("epoch", epochs, published.epoch_losses, max(common), EPOCH_LOSS_TOLERANCE)
        return
    recent = {i: loss for i in published.losses if (loss := loss_until(history, i)) is not None}
    if recent:
        yield _loss("iteration", recent, published.losses, max(recent), LOSS_TOLERANCE)


def _compare_final(tested: Mapping[str, float], published: Published) -> Iterator[Comparison]:
    for name, curve in published.metrics.items():
        if name in tested:
            yield _metric(name, "end", tested[name], curve[max(curve)], True)


def _metric(name: str, where: str, ours: float, theirs: float, final: bool) -> Comparison:
    bound = theirs - (FINAL_TOLERANCE if final else METRIC_TOLERANCE)
    return Comparison(name, where, ours, theirs, bound, ours >= bound - 1e-9)


def _loss(unit: str, ours: Curve, theirs: Curve, step: int, tolerance: float) -> Comparison:
    bound = theirs[step] * (1 + tolerance)
    fine = ours[step] <= bound
    return Comparison("training loss", f"{unit} {step}", ours[step], theirs[step], bound, fine)


def loss_until(history: History, iteration: int) -> float | None:
    """Mean of the losses logged shortly before an iteration, None if it is not reached.

    That is over the last 50 iterations, or the last tenth of all where that is more.
    """
    if iteration > history.last_iteration:
        return None
    start = iteration - max(WINDOW, iteration // 10)
    logged = [v for i, v in history.train.get("loss", {}).items() if start < i <= iteration]
    return sum(logged) / len(logged) if logged else None


def _departures(cfg: Config, published: Published, processes: int | None) -> Iterator[str]:
    train_cfg = cfg.get("train_cfg") or {}
    for key in ("max_epochs", "max_iters"):
        if train_cfg.get(key, published.length) != published.length:
            yield f"{key}={train_cfg[key]} instead of {published.length}"
    batch = (cfg.get("train_dataloader") or {}).get("batch_size")
    if batch and processes and batch * processes != published.batch:
        yield f"a total batch of {batch * processes} instead of {published.batch}"
