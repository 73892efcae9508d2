"""A case's run: build, a training step, a prediction; each in a process of its own."""

import logging
import multiprocessing
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from lsnet_mm import use_in
from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet

from .cases import ALWAYS, WAYS, Case

# At most, of settings by these names, which are as many as cost time.
FEW = dict(num_queries=30, num_query=30, num_proposals=30, num=32, max_per_img=30)
ORIGINAL = "original"  # the way of a case whose backbone is left as it is
TIMEOUT = 300  # seconds of a case
LEAVE = 10  # seconds for its process to end by itself


@dataclass
class Outcome:
    """How far a case came.

    Attributes:
        trained: After a step: losses, the stem's gradient and all weights are finite.
        predicted: The results are finite.
        use_in: What ``lsnet_mm.use_in`` makes of the library's config: ``'same'``, ``'differs'``,
            or its error.
        error: What ended it; empty if nothing did.
        original: If it failed, what ends the library's own config; empty if nothing does.
        seconds: The time taken.
    """

    trained: bool = False
    predicted: bool = False
    use_in: str = ""
    error: str = ""
    original: str = ""
    seconds: float = 0.0


def user_config(case: Case) -> str:
    """Return the text of a user's config, in five lines or less."""
    if case.way == ORIGINAL:
        return f"_base_ = {case.config!r}\n"
    if case.way == "use_in":
        return (
            f"_base_ = {case.config!r}\n"
            "from lsnet_mm import changes\n"
            "globals().update(changes(_base_, arch='t'))\n"
        )
    return (
        f'_base_ = [{case.config!r}, __import__("lsnet_mm").base("t")]\n'
        f"model = dict({ALWAYS[case.library]}{WAYS[case.way]})\n"
    )


def run_apart(case: Case, timeout: float = TIMEOUT) -> Outcome:
    """Run a case in a process of its own, whatever becomes of that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.matrix.preload"])
    receiver, sender = context.Pipe(duplex=False)
    started = time.monotonic()
    process = context.Process(target=_run_and_send, args=(case, sender), daemon=True)
    process.start()
    sender.close()
    outcome = Outcome(error=f"takes longer than {timeout} s")
    if receiver.poll(timeout):
        try:
            outcome = receiver.recv()
            process.join(LEAVE)
        except EOFError:
            process.join()
            outcome = Outcome(error=f"the process ended with status {process.exitcode}")
    process.kill()
    process.join()
    outcome.seconds = time.monotonic() - started
    return outcome


def _run_and_send(case: Case, sender: Connection) -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sender.send(run(case))


def run(case: Case) -> Outcome:
    """Run a case in this process."""
    outcome = Outcome()
    try:
        cfg = read(case)
        if case.way != ORIGINAL:
            outcome.use_in = compare_use_in(case, cfg)
        step(case, cfg, outcome)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
        outcome.error = f"{type(error).__name__}: {error} ({where})"
    return outcome


def read(case: Case) -> Config:
    """Read a user's config, in a folder far from the library's."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "user.py"
        path.write_text(user_config(case))
        return Config.fromfile(path)


def compare_use_in(case: Case, cfg: Config) -> str:
    """Tell whether ``use_in`` makes the same model of the library's config."""
    try:
        made = use_in(case.config).model
    except InputError as error:
        return str(error)
    return "same" if plain(made) == plain(cfg.model) else "differs"


def plain(node: Any) -> Any:
    """Return a config's part without what makes no difference: kinds of sequences, defaults."""
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items() if k not in ("_scope_", "pretrained")}
    return [plain(v) for v in node] if isinstance(node, list | tuple) else node


def step(case: Case, cfg: Config, outcome: Outcome) -> None:
    """Build the model, train it for one step and predict."""
    shrink(cfg, case)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    hub = MessageHub.get_current_instance()  # the runner's part
    for name, value in dict(epoch=0, iter=0, max_epochs=12, max_iters=1000).items():
        hub.update_info(name, value)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    gradients = watch_stem(model) if case.way != ORIGINAL else []
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = model.train().train_step(examples(case, cfg, 2), optimizer)
    check("a loss", *losses.values())
    if case.way != ORIGINAL and not any(gradient.abs().sum() > 0 for gradient in gradients):
        raise ArithmeticError("no gradient reaches the stem")
    check("the stem's gradient", *gradients)
    check("a weight", *model.state_dict().values())
    outcome.trained = True
    model.eval()
    with torch.no_grad():
        (result,) = model.test_step(examples(case, cfg, 1))
    found = [value for name, value in result.items() if name.startswith("pred_")]
    predicted = [numbers for value in found for numbers in arrays(value)]
    if not predicted:
        raise ArithmeticError("nothing is predicted")
    check("a prediction", *predicted)
    outcome.predicted = True


def watch_stem(model: nn.Module) -> list[torch.Tensor]:
    """Return a list that the gradients of LSNet's first convolution will be put into."""
    (backbone,) = (module for module in model.modules() if isinstance(module, LSNet))
    gradients: list[torch.Tensor] = []
    backbone.patch_embed[0].c.weight.register_hook(gradients.append)
    return gradients


def check(what: str, *values: Any) -> None:
    """Raise an error unless all numbers are finite."""
    for value in values:
        value = torch.as_tensor(value)
        if value.is_floating_point() and not value.isfinite().all():
            raise ArithmeticError(f"{what} is not finite")


def arrays(node: Any) -> Iterator[torch.Tensor | np.ndarray]:
    """The tensors and arrays of a prediction."""
    if isinstance(node, torch.Tensor | np.ndarray):
        yield node
    elif hasattr(node, "items"):
        for _, value in node.items():
            yield from arrays(value)
    elif isinstance(node, list):
        for value in node:
            yield from arrays(value)


# The model and its examples, small enough for a CPU.


def shrink(cfg: Config, case: Case) -> None:
    """Make a config's model small, without weights to fetch, and its optimizer's steps plain."""
    cfg.model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))  # as the runner does
    _shrink(cfg.model)
    cfg.optim_wrapper.type = "OptimWrapper"  # not in mixed precision
    cfg.optim_wrapper.pop("loss_scale", None)
    cfg.optim_wrapper.pop("dtype", None)
    if cfg.default_scope == "mmseg":
        cfg.model.data_preprocessor.update(size=(case.side, case.side), size_divisor=None)
        cfg.model.test_cfg.mode = "whole"
    cfg.merge_from_dict({f"model.{name}": value for name, value in case.settings.items()})


def _shrink(node: Any) -> None:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        fetched = key == "init_cfg" and "Pretrained" in str(value)
        if fetched or key in ("batch_augments", "pretrained"):
            node[key] = None  # weights to fetch; sizes that images are brought to
        elif key in FEW and isinstance(value, int):
            node[key] = min(value, FEW[key])
        elif isinstance(value, dict | list):
            _shrink(value)


def examples(case: Case, cfg: Config, count: int) -> dict[str, Any]:
    """Return a batch of random examples, as the library's data loaders make it."""
    if case.sample == "lanes":
        return pseudo_collate([_lanes(case.side) for _ in range(count)])
    if cfg.default_scope == "mmdet":
        from mmdet.testing import demo_mm_inputs

        side = case.side
        shapes = [[3, side, side]] * count
        labels = dict(with_mask="masks" in case.sample, with_semantic="semantic" in case.sample)
        if "semantic8" in case.sample:
            labels["sem_seg_output_strides"] = 8
        batch = demo_mm_inputs(count, shapes, num_items=[3] * count, num_classes=3, **labels)
        for sample in batch["data_samples"]:
            sample.set_metainfo(dict(scale_factor=(1.0, 1.0), batch_input_shape=(side, side)))
            if "proposals" in case.sample:
                sample.proposals = InstanceData(bboxes=sample.gt_instances.bboxes)
        return batch
    images = torch.randint(256, (count, 3, case.side, case.side), dtype=torch.uint8)
    make = _label_map if cfg.default_scope == "mmseg" else _class
    return dict(inputs=list(images), data_samples=[make(case.side) for _ in images])


def _lanes(side: int) -> dict[str, Any]:
    from mmdet.datasets.transforms import LinesToArray, PackLineDetectionInputs

    image = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
    lines = [[(side * x, side * y) for x, y in ((start, 0.9), (0.5, 0.1))] for start in (0.2, 0.7)]
    sample = dict(img=image, org_height=side, org_width=side, lines=lines, org_lines=lines)
    sample["gt_seg_map"] = np.zeros((side, side), np.uint8)
    return PackLineDetectionInputs()(LinesToArray(img_height=side, img_width=side)(sample))


def _label_map(side: int) -> Any:
    from mmseg.structures import SegDataSample

    size = (side, side)
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=1.0, flip=False)
    cells = torch.randint(3, (1, side // 16, side // 16))
    labels = cells.repeat_interleave(16, 1).repeat_interleave(16, 2)
    return SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))


def _class(_: int) -> Any:
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(int(torch.randint(3, ())))
