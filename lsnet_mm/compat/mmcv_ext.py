"""A stand-in for ``mmcv._ext``, the compiled extension without which ``mmcv.ops`` cannot import.

mmcv publishes compiled wheels for old torch releases only, and mmdet imports ``mmcv.ops`` whether
or not a model needs a compiled op. The stand-in holds those that models of images use, in plain
torch and torchvision; the others are there by name, for mmcv asserts at import that they exist, and
raise when called.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

NAME = "mmcv._ext"
COMPILER = "none: mmcv._ext is lsnet_mm's stand-in in plain torch, nothing is compiled"
# The modules of this package that hold ops.
THEMES = (
    "bbox_overlaps",
    "border_align",
    "carafe",
    "deform_attn",
    "deform_conv",
    "deform_roi_pool",
    "focal_loss",
    "fused_bias_leakyrelu",
    "line_nms",
    "masked_conv",
    "nms",
    "prroi_pool",
    "psa_mask",
    "quadrilaterals",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
    "tin_shift",
    "upfirdn2d",
)


def install_mmcv_ext() -> None:
    """Let ``import mmcv._ext`` fall back on the stand-in where mmcv has no compiled extension.

    The finder goes last on ``sys.meta_path``, so a real ``mmcv._ext`` is found before it. Nothing
    is imported until ``mmcv._ext`` is; calling this again changes nothing.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


class MMCVExtFinder(MetaPathFinder):
    """Finds ``mmcv._ext``, and no other module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the stand-in if ``fullname`` is ``"mmcv._ext"``, else None."""
        return ModuleSpec(fullname, MMCVExtLoader(), origin=__file__) if fullname == NAME else None


class MMCVExtLoader(Loader):
    """Fills the module ``mmcv._ext`` with the ops of this package."""

    def exec_module(self, module: ModuleType) -> None:
        """Put every op, the two version queries and a fallback for missing ops into ``module``."""
        for theme in THEMES:
            ops = import_module(f".{theme}", __package__)
            for op in ops.__all__:
                setattr(module, op, getattr(ops, op))
        # mmcv's environment report prints these two.
        module.get_compiler_version = module.get_compiling_cuda_version = lambda: COMPILER
        module.__getattr__ = missing_op


def missing_op(name: str) -> Callable[..., NoReturn]:
    """A function in the place of the op ``name``, which raises NotImplementedError when called.

    Raises:
        AttributeError: If ``name`` is a dunder name: Python asks modules for those, mmcv does not.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {NAME!r} has no attribute {name!r}")

    def op(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"mmcv op {name!r} is not in lsnet_mm's stand-in for mmcv's compiled extension. "
            "Install an mmcv build with compiled ops for your torch "
            "(https://mmcv.readthedocs.io/en/latest/get_started/build.html), "
            "or choose a model that does not use it."
        )

    return op


_FINDER = MMCVExtFinder()
