"""The text of a config for a user's own data."""

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from lsnet_mm.check.grid import colours
from lsnet_mm.model_zoo import find

from .layout import OwnData
from .render import Code, assignment, comment, expression
from .schedule import RECIPES, Schedule, plan
from .tasks import TASKS


class Setting(NamedTuple):
    """An assignment.

    Attributes:
        name: What is set.
        value: Its value.
        remark: A comment to stand before it, after an empty line.
    """

    name: str
    value: Any
    remark: str = ""


def compose(args: argparse.Namespace, data: OwnData, base: Path, out: Path) -> str:
    """Return the text of a config.

    Args:
        args: Those of ``tools/new_config.py``.
        data: What the config is for.
        base: The config to inherit.
        out: Where the config will be.
    """
    schedule = plan(args.task, data.images)
    settings = [
        *_loaders(args, data, schedule.batch),
        *_model(args),
        *(_iterations(schedule) if args.task == "semantic" else _epochs(args.task, schedule)),
        _checkpoints(args.task, schedule, data.val is not None),
        *_rate(args.task, schedule),
    ]
    head = f"{args.data.resolve().name}: {len(data.classes)} classes, {data.images} training images"
    lines = [comment(f"{head}. Written by tools/new_config.py.")]
    lines += [assignment("_base_", _base_path(base, out)), ""]
    for name, value, remark in settings:
        lines += ["", comment(remark)] if remark else []
        lines.append(assignment(name, value))
    return "\n".join(lines) + "\n"


def _base_path(base: Path, out: Path) -> str:
    """Return the path to a config to inherit: seen from a config of the repository, else full."""
    folder = out.resolve().parent
    inside = folder.is_relative_to(base.parents[1])
    return os.path.relpath(base, folder) if inside else str(base)


# Data.


def _loaders(args: argparse.Namespace, data: OwnData, batch: int) -> list[Setting]:
    own = {"data_root": Code("data_root"), "metainfo": Code("metainfo"), **data.common}
    metainfo = {"classes": tuple(data.classes)}
    pipelines, train_pipeline, test_pipeline = [], {}, {}
    loader = {"batch_size": batch}
    if args.task == "classification":
        # Repeated augmentation takes images by 256 at a time: small sets would have none.
        loader["sampler"] = {"_delete_": True, "type": "DefaultSampler", "shuffle": True}
    else:
        metainfo["palette"] = colours(None, len(data.classes))
    if args.task == "semantic":
        own = {"type": "BaseSegDataset", **own}
        if not data.common["reduce_zero_label"]:
            pipelines = _pipelines_with_zero()
            train_pipeline = {"pipeline": Code("train_pipeline")}
            test_pipeline = {"pipeline": Code("test_pipeline")}
    common = {"**own": Code("**own")}
    loader["dataset"] = {**common, **data.train, **train_pipeline}
    settings = [
        Setting("data_root", str(args.data / "_")[:-1]),
        Setting("metainfo", metainfo),
        *pipelines,
        Setting("own", own),
        Setting("train_dataloader", loader),
    ]
    if data.val is None:
        remark = "There is no validation data: nothing is measured."
        return [
            *settings,
            Setting("val_dataloader = val_cfg = val_evaluator", None, remark),
            Setting("test_dataloader = test_cfg = test_evaluator", None),
        ]
    return [
        *settings,
        Setting("val_dataloader", {"dataset": {**common, **data.val, **test_pipeline}}),
        Setting("test_dataloader", Code("val_dataloader")),
        *_evaluators(args, data),
    ]


def _pipelines_with_zero() -> list[Setting]:
    load = {"type": "LoadAnnotations", "reduce_zero_label": False}
    return [
        Setting("load", load, "Label 0 is a class here, and not to ignore as in ADE20K."),
        Setting("train_pipeline", Code("_base_.train_pipeline")),
        Setting("train_pipeline[1]", Code("load")),
        Setting("test_pipeline", Code("_base_.test_pipeline")),
        Setting("test_pipeline[3]", Code("load")),
        Setting("tta_pipeline", Code("_base_.tta_pipeline")),
        Setting("tta_pipeline[1].transforms[3]", [Code("load")]),
    ]


def _evaluators(args: argparse.Namespace, data: OwnData) -> list[Setting]:
    evaluator = {}
    if data.ann_file:
        inside = not Path(data.ann_file).is_absolute()
        path = expression(data.ann_file)
        evaluator["ann_file"] = Code(f"data_root + {path}" if inside else path)
    if args.task == "classification" and len(data.classes) <= 5:
        evaluator["topk"] = (1,)
    same = Setting("test_evaluator", Code("val_evaluator"))
    return [Setting("val_evaluator", evaluator), same] if evaluator else []


# The network.


def _model(args: argparse.Namespace) -> list[Setting]:
    task = TASKS[args.task]
    if args.init == "published":
        weights = find(task.published.format(args.arch))
        remark = (
            f"The authors' whole network, as trained on {weights.results[0].dataset}, is gone on "
            "from: all but the layers of another number of classes."
        )
        backbone, load_from = {"init_cfg": None}, [Setting("load_from", weights.url)]
    else:
        remark = "The backbone starts from the authors' weights, trained on ImageNet."
        init_cfg = {"type": "Pretrained", "checkpoint": find(f"lsnet_{args.arch}").url}
        # A classifier's inherited config starts from random weights, the others' from these.
        backbone = {"init_cfg": init_cfg} if args.task == "classification" else {}
        load_from = []
    model = {"backbone": backbone, **task.parts} if backbone else task.parts
    return [
        Setting("num_classes", Code('len(metainfo["classes"])'), remark),
        Setting("model", model),
        *load_from,
    ]


# The schedule.


def _epochs(task: str, schedule: Schedule) -> list[Setting]:
    """Return the length of a training that counts epochs, and the settings that go with it."""
    end = Code("epochs")
    if task == "classification":
        decay = {"type": "CosineAnnealingLR", "begin": 0, "end": end, "eta_min": schedule.lr / 100}
        decay["convert_to_iter_based"] = True
    else:
        steps = [round(schedule.epochs * part / 12) for part in (8, 11)]
        decay = {"type": "MultiStepLR", "begin": 0, "end": end, "milestones": steps}
    length = f"{schedule.iterations} steps: the fewer images, the more often each is seen."
    return [
        Setting("epochs", schedule.epochs, length),
        Setting("train_cfg", {"max_epochs": end, "val_interval": schedule.interval}),
        Setting("param_scheduler", [_warm_up(schedule), decay]),
    ]


def _iterations(schedule: Schedule) -> list[Setting]:
    """Return the length of a training that counts iterations, and what goes with it."""
    end = Code("iterations")
    decay = {"type": "PolyLR", "power": 0.9, "eta_min": 1e-6, "by_epoch": False}
    decay |= {"begin": schedule.warm_up, "end": end}
    length = f"{schedule.epochs} passes: the fewer images, the more often each is seen."
    return [
        Setting("iterations", schedule.iterations, length),
        Setting("train_cfg", {"max_iters": end, "val_interval": schedule.interval}),
        Setting("param_scheduler", [_warm_up(schedule), decay]),
    ]


def _warm_up(schedule: Schedule) -> dict[str, Any]:
    start = {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False}
    return {**start, "begin": 0, "end": schedule.warm_up}


def _checkpoints(task: str, schedule: Schedule, measured: bool) -> Setting:
    checkpoint = {"interval": schedule.interval}
    if task != "classification":  # whose inherited config keeps a few, and the best
        checkpoint["max_keep_ckpts"] = 3
        if measured:
            checkpoint |= {"save_best": TASKS[task].metric, "rule": "greater"}
    return Setting("default_hooks", {"checkpoint": checkpoint})


def _rate(task: str, schedule: Schedule) -> list[Setting]:
    recipe = RECIPES[task]
    remark = (
        f"For one GPU. The published rate, {expression(recipe.lr)} for {recipe.base_batch} images "
        "a step, goes with the square root of these"
    )
    if recipe.factor != 1:
        remark += f"; {recipe.factor:g} of it, as the weights are trained already"
    return [
        Setting("optim_wrapper", {"optimizer": {"lr": schedule.lr}}, f"{remark}."),
        Setting("auto_scale_lr", {"base_batch_size": schedule.batch}),
    ]
