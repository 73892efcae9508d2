"""What ``tools/train.py`` and ``tools/test.py`` do once their arguments are parsed."""

import argparse
import os.path as osp
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner

from lsnet_mm.errors import InputError
from lsnet_mm.evaluation import DUMPS

from .amp import use_amp
from .data import (
    check_paths,
    explain_damaged_checkpoint,
    explain_dead_workers,
    explain_empty_data,
    explain_full_disk,
)
from .distributed import set_up_launcher
from .randomness import use_deterministic_algorithms
from .resumable import ResumableRunner
from .resume import set_up_resume
from .visualization import draw_predictions


def train(args: argparse.Namespace) -> None:
    """Train as ``tools/train.py``'s arguments say.

    Raises:
        InputError: If the config, data paths, launcher or checkpoint do not fit; before training.
    """
    cfg = load_config(args)
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise InputError(f"--auto-scale-lr: {args.config} sets no auto_scale_lr")
        cfg.auto_scale_lr.enable = True
    if args.deterministic:
        use_deterministic_algorithms(cfg)
    notes = set_up_resume(cfg, args.resume)
    _add_hook(cfg, dict(type="CheckpointFitHook", strict=bool(cfg.get("resume"))))
    if args.compile:
        _add_hook(cfg, dict(type="CompileHook", mode=args.compile))
    check_paths(cfg, ("train_dataloader", "val_dataloader"))
    set_up_launcher(cfg)
    with (
        explain_empty_data(),
        explain_damaged_checkpoint(cfg.get("load_from")),
        explain_full_disk(cfg.work_dir),
        explain_dead_workers(),
    ):
        runner = ResumableRunner.from_cfg(cfg)
        for note in notes:
            runner.logger.warning(note)
        runner.train()


def test(args: argparse.Namespace) -> dict[str, float]:
    """Test as ``tools/test.py``'s arguments say, and return the metrics.

    Raises:
        InputError: If the config, data paths, launcher or checkpoint do not fit.
    """
    cfg = load_config(args)
    cfg.load_from = _existing(args.checkpoint)
    cfg.resume = False
    # The checkpoint replaces every weight: fetching the pretrained backbone would be in vain.
    _forget_pretrained(cfg.model)
    _add_hook(cfg, dict(type="CheckpointFitHook", strict=True))
    if args.fold:
        _add_hook(cfg, dict(type="FoldHook"))
    if args.compile:
        _add_hook(cfg, dict(type="CompileHook", mode=args.compile))
    if args.show or args.show_dir:
        draw_predictions(cfg, args.show_dir, args.show, args.wait_time)
    if args.tta:
        _use_tta(cfg)
    if args.out:
        _dump_predictions(cfg, args.out)
    check_paths(cfg, ("test_dataloader",))
    set_up_launcher(cfg)
    with explain_empty_data(), explain_damaged_checkpoint(cfg.load_from):
        return Runner.from_cfg(cfg).test()


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply ``--cfg-options``, ``--work-dir`` and ``--launcher``.

    Raises:
        InputError: If the file is missing or is no config, or an option is not KEY=VALUE.
    """
    if not osp.isfile(args.config):
        raise InputError(f"config not found: {args.config}{_suggest(args.config)}")
    try:
        cfg = Config.fromfile(args.config)
    except (SyntaxError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{args.config} cannot be read as a config: {error}") from error
    options = _parse_options(args.cfg_options)
    if "data_root" in options and cfg.get("data_root"):
        old, new = (osp.join(root, "") for root in (cfg.data_root, options["data_root"]))
        _move_data_root(cfg._cfg_dict, old, new)
    cfg.merge_from_dict(options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get("work_dir"):
        cfg.work_dir = osp.join("work_dirs", Path(args.config).stem)
    return cfg


def _suggest(config: str) -> str:
    path = Path(config)
    names = [beside.name for beside in path.parent.glob("*.py")]
    close = get_close_matches(path.name, names, n=4, cutoff=0.3)
    return f" (beside it: {', '.join(close)})" if close else ""


def _parse_options(options: Iterable[str] | None) -> dict:
    options = list(options or [])
    for option in options:
        if "=" not in option:
            raise InputError(f"--cfg-options takes KEY=VALUE pairs, got {option!r}")
    parsed = argparse.Namespace()
    try:
        DictAction([], "options")(None, parsed, options)  # mm's syntax for lists and numbers
    except RecursionError:  # what it makes of braces
        raise InputError(
            f"--cfg-options takes numbers, texts and lists, not {' '.join(options)!r}: for a dict "
            "write a config that inherits this one"
        ) from None
    return parsed.options


def _move_data_root(node: dict | list | tuple, old: str, new: str) -> None:
    """Replace ``old`` by ``new`` where a string starts with it; Config resolved it on reading."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(value, dict | list | tuple):
            _move_data_root(value, old, new)
        elif isinstance(value, str) and value.startswith(old):
            node[key] = new + value.removeprefix(old)


def _existing(checkpoint: str) -> str:
    if "://" not in checkpoint and not osp.isfile(checkpoint):
        raise InputError(f"checkpoint not found: {checkpoint}")
    return checkpoint


def _add_hook(cfg: Config, hook: dict) -> None:
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]


def _forget_pretrained(model: ConfigDict) -> None:
    for part in (model, *(v for v in model.values() if isinstance(v, dict))):
        init_cfg = part.get("init_cfg")
        if isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
            part.init_cfg = None


def _use_tta(cfg: Config) -> None:
    if not cfg.get("tta_model") or not cfg.get("tta_pipeline"):
        raise InputError(
            "--tta: the config sets no tta_model and tta_pipeline"
            + (" (mmdet has none for masks)" if cfg.get("default_scope") == "mmdet" else "")
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def _dump_predictions(cfg: Config, out: str) -> None:
    if not out.endswith((".pkl", ".pickle")):
        raise InputError(f"--out must end in .pkl or .pickle, got {out!r}")
    kind = DUMPS.get(cfg.get("default_scope"), "DumpResults")
    evaluator = cfg.test_evaluator
    evaluators = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    cfg.test_evaluator = [*evaluators, dict(type=kind, out_file_path=out)]
