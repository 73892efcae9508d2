"""The verdict on runs whose curves lie beside the published ones."""

import pytest
from mmengine.config import Config

from lsnet_mm.report.curves import History, Run
from lsnet_mm.report.published import CURVES
from lsnet_mm.report.verdict import judge, loss_until
from tests.report.conftest import run_of

T = CURVES["retinanet_lsnet_t_coco"]
FPN = CURVES["fpn_lsnet_t_ade20k"]
RECIPE = Config(dict(train_cfg=dict(max_epochs=12), train_dataloader=dict(batch_size=2)))
ITERATIONS = Config(dict(train_cfg=dict(max_iters=40000), train_dataloader=dict(batch_size=4)))


@pytest.mark.parametrize(
    ("history", "status", "bad"),
    [
        (run_of(7), "good", []),
        (run_of(7, ap=-1.5), "good", []),
        (run_of(7, ap=-1.6), "bad", ["box AP"]),
        (run_of(7, ap=3, loss=0.5), "good", []),
        (run_of(7, loss=1.049), "good", []),
        (run_of(7, loss=1.06), "bad", ["training loss"]),
        (run_of(12, ap=-0.5), "good", []),
        (run_of(12, ap=-0.6), "bad", ["box AP"]),  # at the end, less is allowed
        (run_of(3, ap=float("nan"), loss=float("nan")), "bad", ["box AP", "training loss"]),
    ],
)
def test_verdict_keeps_to_the_tolerances(history, status, bad):
    verdict = judge(history, {}, T, RECIPE, 8)
    assert verdict.status == status
    assert [c.what for c in verdict.comparisons if not c.fine] == bad
    assert [c.what for c in verdict.comparisons] == ["box AP", "training loss"]
    assert {c.where for c in verdict.comparisons} == {f"epoch {max(history.epochs.values())}"}
    assert verdict.notes == []
    for name in bad:
        assert name in verdict.title


def early(losses: dict[int, float]) -> History:
    first, last = min(losses), max(losses)
    epochs = dict.fromkeys(losses, 1)
    return History([Run("", first, last, 0)], True, 7330, {"loss": losses}, epochs)


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ({10: 2.0, 40: 2.0}, "none"),
        ({25: 2.0, 50: 1.9}, "good"),
        ({50: 1.9, 100: 1.7}, "good"),
        ({50: 1.9, 100: 1.755 * 1.16}, "bad"),
    ],
)
def test_first_losses_are_compared_before_an_epoch_is_over(losses, status):
    verdict = judge(early(losses), {}, T, RECIPE, 8)
    assert verdict.status == status
    assert ("nothing yet" in verdict.title) == (status == "none")


@pytest.mark.parametrize(("loss", "status"), [(0.999 * 1.14, "good"), (0.999 * 1.2, "bad")])
def test_losses_between_published_iterations_are_averaged(loss, status):
    losses = {
        i: 5.0 if i <= 900 else loss + (0.1 if i % 100 else -0.1) for i in range(50, 1101, 50)
    }
    history = History([Run("", 50, 1100, 0)], train={"loss": losses})
    assert loss_until(history, 1000) == pytest.approx(loss)
    verdict = judge(history, {}, FPN, ITERATIONS, 8)
    assert verdict.status == status
    assert verdict.comparisons[0].where == "iteration 1000"


def test_departures_from_the_recipe_are_named():
    cfg = Config(dict(train_cfg=dict(max_epochs=1), train_dataloader=dict(batch_size=2)))
    notes = judge(run_of(1), {}, T, cfg, 1).notes
    assert [note.partition(": ")[2] for note in notes] == [
        "max_epochs=1 instead of 12.",
        "a total batch of 2 instead of 16.",
    ]
    assert judge(run_of(1), {}, T, RECIPE, None).notes == []  # who knows how many GPUs


def test_without_a_published_curve_nothing_is_claimed():
    verdict = judge(run_of(1), {}, None, RECIPE, 8)
    assert verdict.status == "none"
    assert "no published curve" in verdict.title


@pytest.mark.parametrize(("ap", "status"), [(33.8, "good"), (33.6, "bad")])
def test_a_test_alone_is_compared_with_the_final_result(ap, status):
    verdict = judge(History(), {"box AP": ap}, T, RECIPE, 1)
    assert verdict.status == status
    assert verdict.notes == []
    assert judge(History(), {}, T, RECIPE, 1).status == "none"
