"""The authors' own backbone and kernels, out of a clone of their repository, to time beside ours.

Their code has no licence and is not part of this package: it is loaded from where the user keeps
it.
"""

import importlib
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock, patch

import torch
from torch import nn

from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet

from .ska import UnfoldSKA

# What their file imports of old mm libraries and does not need to build a network.
ABSENT = ("mmcv_custom", "mmdet", "mmdet.utils", "mmdet.models", "mmdet.models.builder")
PACKAGE = "authors_lsnet"


def with_authors_backbone(model: nn.Module, folder: Path) -> nn.Module:
    """Return ``model`` with the authors' backbone in the place of ours, with the same weights.

    Without a GPU their kernels do not run; SKA then unfolds.

    Args:
        model: An LSNet of four outputs, or a detector or segmentor with one.
        folder: A clone of their repository.

    Raises:
        InputError: If ``folder`` is no such clone, or ``model`` has no such backbone.
    """
    ours = getattr(model, "backbone", model)
    if not isinstance(ours, LSNet) or ours.arch == "custom" or len(ours.out_indices) < 4:
        raise InputError("--authors: theirs is a backbone of four outputs, T, S or B; so must ours")
    module = _load(folder.resolve())
    with (
        warnings.catch_warnings(),
        patch.object(module, "SKA", module.SKA if torch.cuda.is_available() else UnfoldSKA),
    ):
        warnings.simplefilter("ignore")
        theirs = getattr(module, f"lsnet_{ours.arch}")(pretrained=None, frozen_stages=-1)
    theirs.load_state_dict(ours.state_dict())
    if ours is model:
        return theirs
    model.backbone = theirs
    return model


def authors_ska(folder: Path) -> nn.Module:
    """Return the authors' SKA, which needs a GPU, float16 or float32.

    Args:
        folder: A clone of their repository.

    Raises:
        InputError: If ``folder`` is no such clone.
    """
    return _load(folder.resolve()).SKA()


@cache
def _load(folder: Path) -> ModuleType:
    """Import their file of the dense backbones."""
    code = folder / "detection" / "model"
    if not (code / "lsnet.py").is_file():
        raise InputError(f"--authors: {folder} is no clone of their repository: no {code}/lsnet.py")
    package = ModuleType(PACKAGE)
    package.__path__ = [str(code)]
    stand_ins = {name: MagicMock() for name in ABSENT}
    stand_ins["mmdet.models.builder"].BACKBONES.register_module = lambda: lambda function: function
    with patch.dict(sys.modules, {PACKAGE: package, **stand_ins}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"{PACKAGE}.lsnet")
