"""Losses that are not finite: training stops, or leaves their iterations out."""

import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.data import Dataset

from lsnet_mm.engine.nonfinite import image_names
from lsnet_mm.engine.runner import ExplainingRunner
from lsnet_mm.errors import InputError
from tests.engine.test_run import SHAPES, arguments, forget_visualizers, run_train

STEPS = 6
BAD = (2, 3)  # positions of numbers that are none


class Numbers(Dataset):
    """A number for each index, with a path; NaN at some."""

    def __init__(self, bad: tuple[int, ...], only_rank: int | None = None) -> None:
        self.bad = bad if only_rank in (None, get_rank()) else ()

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> dict:
        value = float("nan") if index in self.bad else 1.0 + index
        sample = BaseDataElement(metainfo=dict(img_path=f"{index}.jpg", img_id=index))
        return dict(inputs=torch.tensor([value]), data_samples=sample)


class Product(BaseModel):
    """A weight, whose gradient is the mean of the numbers of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1, affine=False)  # sees the numbers, and is of no use

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str) -> dict[str, Tensor]:
        self.norm(torch.stack(inputs).reshape(1, 1, 1).expand(1, 1, 4))
        product = self.weight * torch.stack(inputs)
        return dict(loss_product=product, loss_other=0 * self.weight.sum(), accuracy=product.max())


@pytest.fixture(scope="module", autouse=True)
def _registered():
    for registry, kind in ((DATASETS, Numbers), (MODELS, Product)):
        registry.register_module(module=kind, force=True)
    init_default_scope("mmengine")


def run(work_dir: Path, bad: tuple[int, ...], skip: int, **others) -> ExplainingRunner:
    """Train a step for each number, by plain gradient descent with a rate of 1."""
    forget_visualizers()
    cfg = dict(
        model=dict(type="Product"),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type="Numbers", bad=bad),
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=1),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0)),
        custom_hooks=[dict(type="NonFiniteLossHook", skip=skip)],
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        experiment_name=str(work_dir).replace("/", "_"),
        default_scope="mmengine",
    )
    runner = ExplainingRunner.from_cfg(Config({**cfg, **others}))
    runner.train()
    return runner


def test_training_stops_with_the_images(tmp_path):
    with pytest.raises(InputError) as raised:
        run(tmp_path / "work", BAD, skip=0)
    message = str(raised.value)
    file = tmp_path / "work" / "nonfinite_iter_3.json"
    assert (
        "the loss of iteration 3 is not finite (loss nan, loss_product nan, accuracy nan)"
        in message
    )
    assert str(file) in message
    assert "--skip-nonfinite N" in message
    found = json.loads(file.read_text())
    assert found["iteration"] == 3
    assert found["epoch"] == 1
    (process,) = found["processes"]
    assert process["images"] == [dict(img_path="2.jpg", img_id=2)]
    assert process["losses"] == dict.fromkeys(("loss", "loss_product", "accuracy"), "nan")
    assert not list((tmp_path / "work").glob("*.pth"))


def log_of(work_dir: Path) -> str:
    return next(work_dir.glob("*/*.log")).read_text()


def test_iterations_are_skipped_without_a_step(tmp_path):
    runner = run(tmp_path / "work", BAD, skip=2)
    # The gradients of all other numbers: 1 + 2 + 5 + 6.
    assert runner.model.weight.item() == -14
    assert runner.iter == STEPS
    mean = 0.0
    for number in (1, 2, 5, 6):
        mean = 0.9 * mean + 0.1 * number
    assert runner.model.norm.running_mean.item() == pytest.approx(mean)
    assert runner.model.norm.num_batches_tracked == 4
    log = log_of(tmp_path / "work")
    assert "2 iterations were skipped as their loss was not finite" in log
    assert " nan" not in log.replace(
        "(loss nan, loss_product nan, accuracy nan)", ""
    )  # nor in logged averages
    assert len(list((tmp_path / "work").glob("nonfinite_iter_*.json"))) == 2


def test_no_more_are_skipped_than_allowed(tmp_path):
    with pytest.raises(InputError, match=r"iteration 4 is not finite .* 1 were skipped before"):
        run(tmp_path / "work", BAD, skip=1)


def test_finite_losses_are_left_alone(tmp_path):
    assert run(tmp_path / "work", (), skip=3).model.weight.item() == -21
    assert "skipped" not in log_of(tmp_path / "work")


@pytest.mark.parametrize("kind", ["OptimWrapper", "BFloat16OptimWrapper"])
def test_accumulated_gradients_are_dropped_with_a_skipped_iteration(kind, tmp_path):
    """Three numbers a step, each with a third of the loss: 1 2 | NaN drops them | and 4 5 6."""
    wrapper = dict(type=kind, accumulative_counts=3, optimizer=dict(type="SGD", lr=1.0))
    runner = run(tmp_path / "work", (2,), skip=1, optim_wrapper=wrapper)
    assert runner.model.weight.item() == pytest.approx(-5, abs=0.05)
    runner = run(tmp_path / "again", (0,), skip=1, optim_wrapper=wrapper)  # (2 + 3) / 3 remain
    assert runner.model.weight.item() == pytest.approx(-(5 / 3) - 5, abs=0.05)


def process(rank: int, folder: str) -> None:
    """One of two processes; the numbers of the second are bad."""
    for registry, kind in ((DATASETS, Numbers), (MODELS, Product)):
        registry.register_module(module=kind, force=True)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    loader = dict(
        dataset=dict(type="Numbers", bad=(2, 3), only_rank=1),
        sampler=dict(type="DefaultSampler", shuffle=False),
        batch_size=1,
    )
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    common = dict(
        launcher="pytorch",
        train_dataloader=loader,
        model_wrapper_cfg=dict(
            type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
        ),
    )
    runner = run(Path(folder) / "skipped", BAD, skip=1, **common)
    weight = runner.model.module.weight.item()
    with pytest.raises(InputError, match="iteration 2 is not finite"):
        run(Path(folder) / "stopped", BAD, skip=0, **common)
    (Path(folder) / f"weight_{rank}.txt").write_text(str(weight))


def test_processes_agree(tmp_path):
    """Three batches each: the first of one and the second of the other are 1 2, 3 and NaN, 5 6."""
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    weights = [(tmp_path / f"weight_{rank}.txt").read_text() for rank in (0, 1)]
    assert weights == [str(-(1 + 2) / 2 - (5 + 6) / 2)] * 2
    found = json.loads((tmp_path / "skipped" / "nonfinite_iter_2.json").read_text())
    images = [[image["img_id"] for image in item["images"]] for item in found["processes"]]
    assert images == [[2], [3]]
    assert [bool(item["losses"]) for item in found["processes"]] == [False, True]


@HOOKS.register_module()
class BreakWeightsHook(Hook):
    """Makes the detector's next losses NaN."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        with torch.no_grad():
            runner.model.bbox_head.retina_cls.bias.fill_(float("nan"))


def test_detectors_name_their_images(shapes, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {SHAPES!r}\ncustom_hooks = [dict(type='BreakWeightsHook')]\n"
        "train_dataloader = dict(batch_size=2)\n"
    )
    with pytest.raises(InputError, match=r"loss_cls nan"):
        run_train(arguments(str(config), tmp_path / "work", f"data_root={shapes}/"))
    (file,) = (tmp_path / "work").glob("nonfinite_iter_1.json")
    images = json.loads(file.read_text())["processes"][0]["images"]
    assert len(images) == 2
    assert all(Path(image["img_path"]).is_file() for image in images)


def test_names_of_nested_batches():
    sample = BaseDataElement(metainfo=dict(img_path="a.jpg", other=1))
    batch = dict(sup=dict(inputs=torch.zeros(2), data_samples=[sample]), unsup=[(sample,)])
    assert list(image_names(batch)) == [dict(img_path="a.jpg")] * 2
