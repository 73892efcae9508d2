"""What ``tools/train.py`` and ``tools/test.py`` do once their arguments are parsed."""

import argparse
import os
import os.path as osp
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from lsnet_mm.errors import InputError
from lsnet_mm.evaluation import DUMPS
from lsnet_mm.loading import guarded

from .amp import use_amp
from .data import check_paths, explain_dead_workers, explain_full_disk
from .distributed import explain_lost_processes, set_up_launcher
from .keys import check_keys, check_options, explain_settings
from .randomness import use_deterministic_algorithms
from .resumable import ResumableRunner
from .resume import set_up_resume
from .runner import ExplainingRunner
from .visualization import draw_predictions


@guarded
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
    fit = dict(strict=bool(cfg.get("resume")), filename=cfg.get("load_from"))
    _add_hook(cfg, dict(type="CheckpointFitHook", **fit))
    if args.compile:
        _add_hook(cfg, dict(type="CompileHook", mode=args.compile))
    _add_hook(cfg, dict(type="NonFiniteLossHook", skip=args.skip_nonfinite))
    loaders = ("train_dataloader", "val_dataloader")
    check_paths(cfg, loaders)
    warnings = _annotation_warnings(cfg, loaders)
    set_up_launcher(cfg)
    with (
        explain_settings(),
        explain_full_disk(cfg.work_dir),
        explain_dead_workers(),
        explain_lost_processes(),
    ):
        _runner(ResumableRunner, cfg, [*notes, *warnings]).train()


@guarded
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
    _add_hook(cfg, dict(type="CheckpointFitHook", strict=True, filename=cfg.load_from))
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
    loaders = ("test_dataloader",)
    check_paths(cfg, loaders)
    # Where results are but written, for a test server, nobody has the annotations.
    writes = any(evaluator.get("format_only") for evaluator in _evaluators(cfg))
    warnings = [] if writes else _annotation_warnings(cfg, loaders)
    set_up_launcher(cfg)
    with explain_settings(), explain_dead_workers(), explain_lost_processes():
        return _runner(ExplainingRunner, cfg, warnings).test()


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply ``--cfg-options``, ``--work-dir`` and ``--launcher``.

    Raises:
        InputError: If the file is missing or is no config, an option is not KEY=VALUE, or a key is
            misspelt.
    """
    if not osp.isfile(args.config):
        raise InputError(f"config not found: {args.config}{_suggest(args.config)}")
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:  # a config is a program
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{args.config} cannot be read as a config: {what}") from error
    return adapt_config(cfg, args)


def adapt_config(cfg: Config, args: argparse.Namespace) -> Config:
    """Apply ``--cfg-options``, ``--work-dir`` and ``--launcher`` to the config of ``args.config``.

    Raises:
        InputError: If an option is not KEY=VALUE, or a key is misspelt.
    """
    check_keys(cfg)
    options = _parse_options(args.cfg_options)
    if "data_root" in options and cfg.get("data_root"):
        old, new = (osp.join(root, "") for root in (cfg.data_root, options["data_root"]))
        _move_data_root(cfg._cfg_dict, old, new)
    check_options(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError) as error:
        raise InputError(f"--cfg-options do not fit the config: {error}") from error
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get("work_dir"):
        cfg.work_dir = osp.join("work_dirs", Path(args.config).stem)
    return cfg


def _runner(kind: type[ExplainingRunner], cfg: Config, notes: Iterable[str]) -> ExplainingRunner:
    runner = kind.from_cfg(cfg)
    for line in notes:
        runner.logger.warning(line)
    return runner


def _annotation_warnings(cfg: Config, loaders: Iterable[str]) -> list[str]:
    """Check annotations, once per machine: reading those of a large set takes half a minute."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return []
    from lsnet_mm.check.before_run import check_annotations  # here, as it imports this module

    return check_annotations(cfg, loaders)


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
    cfg.test_evaluator = [*_evaluators(cfg), dict(type=kind, out_file_path=out)]


def _evaluators(cfg: Config) -> list[ConfigDict]:
    evaluator = cfg.get("test_evaluator") or []
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
