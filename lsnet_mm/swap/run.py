"""What ``lsnet_mm`` offers for other libraries' configs."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet

from .classifiers import fit_classifier
from .detectors import fit_detector
from .segmentors import fit_segmentor

# Installing puts the repository's configs here, as the mm packages do with theirs.
CONFIGS = Path(__file__).parents[1] / ".mim" / "configs"
FIT = {"mmdet": fit_detector, "mmseg": fit_segmentor, "mmpretrain": fit_classifier}
PIXELS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def base(arch: str = "t") -> str:
    """Return the path of the base config that holds LSNet for other libraries' configs.

    mmengine knows ``package::`` paths of a fixed list of packages only. This one is found from
    any folder, by ``_base_ = ["mmdet::...", __import__("lsnet_mm").base("t")]``.

    Args:
        arch: ``'t'``, ``'s'`` or ``'b'``.

    Raises:
        InputError: If there is no such network.
    """
    return str(CONFIGS / "_base_" / "backbones" / f"lsnet_{_checked(arch)}.py")


def use_in(cfg: Config | ConfigDict | str | Path, arch: str = "t") -> Config:
    """Return a config of mmdet, mmseg or mmpretrain with LSNet in the place of its backbone.

    With it come the published ImageNet weights and the pixel statistics that they take. Optimizer
    and schedule stay, except for learning rates by the former backbone's layers. The former
    backbone and neck are built and run on a small image, which tells what neck and heads count on:

    - Detectors keep their strides, and necks get LSNet's maps of these. Where a neck starts at
      stride 4, which LSNet lacks, mmdet's FPN becomes
      :class:`~lsnet_mm.models.lsnet_fpn.LSNetFPN` with an extra level, and another neck gets one
      in front. Heads that read maps without a neck, such as Mask2Former's, take LSNet's at twice
      the strides.
    - Segmentors take LSNet's maps at twice the strides; heads on a dilated stage those up to that
      stage, resized to stride 8 and concatenated.
    - Classifiers take the last map.

    Args:
        cfg: A config, the path of a file, or a library's config such as
            ``'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'``. It is not changed.
        arch: ``'t'``, ``'s'`` or ``'b'``.

    Raises:
        InputError: If there is no such network or config, or if it cannot be told how neck or
            heads would take other maps.
    """
    _checked(arch)
    cfg = _read(cfg)
    library = cfg.get("default_scope")
    if library not in FIT:
        raise InputError(
            f"use_in: takes configs whose default_scope is {', '.join(FIT)}, got {library!r}"
        )
    network = _network(cfg)
    with DefaultScope.overwrite_default_scope(library), torch.random.fork_rng(devices=[]):
        FIT[library](network, arch)
    network.pop("pretrained", None)
    for preprocessor in _preprocessors(cfg):
        preprocessor.update(copy.deepcopy(PIXELS))
        preprocessor["to_rgb" if library == "mmpretrain" else "bgr_to_rgb"] = True
        preprocessor.pop("rgb_to_bgr", None)
    _forget_layer_decay(cfg.get("optim_wrapper") or {})
    former = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    imports = [former["imports"]] if isinstance(former["imports"], str) else former["imports"]
    cfg.custom_imports = {**former, "imports": [*imports, "lsnet_mm"]}
    return cfg


def changes(cfg: Config | ConfigDict | str | Path, arch: str = "t") -> dict[str, Any]:
    """Return what :func:`use_in` changes, for a config that inherits the one given.

    ``globals().update(lsnet_mm.changes(_base_))`` in such a config's file makes it that of
    ``use_in``.

    Args:
        cfg: As in ``use_in``.
        arch: ``'t'``, ``'s'`` or ``'b'``.

    Returns:
        The new values by name, of those at the config's top level that differ. Dicts replace the
        inherited ones, by ``_delete_=True``.

    Raises:
        InputError: As ``use_in``.
    """
    before = _read(cfg)
    changed = {k: v for k, v in use_in(before, arch).items() if k not in before or v != before[k]}
    return {
        name: {**value, "_delete_": True} if name in before and isinstance(value, dict) else value
        for name, value in changed.items()
    }


def _checked(arch: str) -> str:
    if arch not in LSNet.arch_zoo:
        raise InputError(f"arch must be one of {', '.join(LSNet.arch_zoo)}, got {arch!r}")
    return arch


def _read(cfg: Config | ConfigDict | str | Path) -> Config:
    if isinstance(cfg, Config):
        return copy.deepcopy(cfg)
    if isinstance(cfg, dict):
        return Config(copy.deepcopy(cfg))
    path = str(cfg) if "::" in str(cfg) else str(Path(cfg).resolve())
    try:
        return Config.fromstring(f"_base_ = {path!r}", ".py")
    except (AssertionError, ImportError, OSError, ValueError) as error:
        raise InputError(f"use_in: {cfg} cannot be read as a config: {error}") from error


def _network(cfg: Config) -> ConfigDict:
    """The model, or the one that it wraps, such as a semi-supervised detector's."""
    model = cfg.get("model") or {}
    for network in (model, *model.values()):
        if isinstance(network, dict) and isinstance(network.get("backbone"), dict):
            return network
    raise InputError("use_in: the config has no model.backbone to replace")


def _forget_layer_decay(optim_wrapper: dict) -> None:
    """Drop learning rates by layer: their constructors know the former backbone's layers only."""
    if "Decay" in optim_wrapper.get("constructor", ""):
        del optim_wrapper["constructor"]
        optim_wrapper.pop("paramwise_cfg", None)


def _preprocessors(node: Any) -> Iterator[dict]:
    """All data preprocessors in a config but those that only wrap another."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _preprocessors(value)
            if key == "data_preprocessor" and key not in value:
                yield value
