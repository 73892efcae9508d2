"""The stand-in module and its finder; the ops have test modules of their own."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import mmcv._ext
import mmcv.ops
import pytest
import torch
from mmcv.utils import collect_env

import lsnet_mm.compat
from lsnet_mm.compat import install_mmcv_ext
from lsnet_mm.compat.mmcv_ext import THEMES, MMCVExtFinder, MMCVExtLoader

OPS = [op for theme in THEMES for op in importlib.import_module(f"lsnet_mm.compat.{theme}").__all__]


# lsnet_mm installs the finder itself and imports more: an empty package in its place leaves
# lsnet_mm.compat alone to judge.
COMPAT_ALONE = """
import sys, types
package = types.ModuleType("lsnet_mm")
package.__path__ = [sys.argv[1]]
sys.modules["lsnet_mm"] = package
from lsnet_mm.compat import install_mmcv_ext
install_mmcv_ext()
"""


def run_python(code: str, *args: str) -> str:
    """What a fresh interpreter prints for ``code`` after installing the finder."""
    package = str(Path(lsnet_mm.compat.__file__).parents[1])
    command = [sys.executable, "-c", COMPAT_ALONE + code, package, *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_finder_goes_last_and_only_once(monkeypatch):
    others = [finder for finder in sys.meta_path if not isinstance(finder, MMCVExtFinder)]
    monkeypatch.setattr(sys, "meta_path", list(others))
    install_mmcv_ext()
    install_mmcv_ext()
    assert sys.meta_path[:-1] == others
    assert isinstance(sys.meta_path[-1], MMCVExtFinder)


def test_finder_answers_for_no_other_module():
    assert importlib.util.find_spec("mmcv._flow_warp_ext") is None
    assert MMCVExtFinder().find_spec("_ext", None) is None


def test_stand_in_is_what_mmcv_imported():
    assert isinstance(mmcv._ext.__spec__.loader, MMCVExtLoader)
    assert mmcv.ops.nms.__module__ == "mmcv.ops.nms"


def test_compiled_extension_wins(tmp_path):
    (tmp_path / "_ext.py").write_text("compiled = True\n")
    code = """
import mmcv
mmcv.__path__.insert(0, sys.argv[2])
import mmcv._ext
print(mmcv._ext.__file__)
"""
    assert run_python(code, str(tmp_path)) == f"{tmp_path / '_ext.py'}\n"


def test_installing_imports_nothing_heavy():
    code = """
print(*sorted({"mmcv", "mmengine", "numpy", "torch", "torchvision"} & set(sys.modules)))
print(*sorted(name for name in sys.modules if name.startswith("lsnet_mm.")))
"""
    assert run_python(code) == "\nlsnet_mm.compat lsnet_mm.compat.mmcv_ext\n"


@pytest.mark.parametrize("op", OPS)
def test_signatures_are_those_of_the_compiled_extension(op):
    if op == "line_nms_forward" and not hasattr(mmcv.ops, "line_nms"):
        pytest.skip(f"mmcv {mmcv.__version__} of OpenMMLab has no line_nms, OneDL's has")
    source = Path(mmcv.ops.__file__).parent / "csrc" / "pytorch" / "pybind.cpp"
    (binding,) = re.findall(rf'm\.def\(\s*"{op}",(.*?)\);', source.read_text(), re.DOTALL)
    expected = re.findall(r'py::arg\("(\w+)"\)', binding)
    if op == "roi_align_rotated_backward":  # mmcv passes these by place, and names them wrongly
        expected[:3] = ["grad_output", "rois", "grad_input"]
    assert list(inspect.signature(getattr(mmcv._ext, op)).parameters) == expected


def test_missing_op_raises_when_called_and_not_before():
    layer = mmcv.ops.BezierAlign(2, 1.0, 0)
    with pytest.raises(NotImplementedError, match=r"'bezier_align_forward' is not in"):
        layer(torch.zeros(1, 2, 4, 4), torch.zeros(1, 17))


def test_missing_op_says_what_to_do():
    with pytest.raises(NotImplementedError, match=r"Install an mmcv build .* or choose a model"):
        mmcv._ext.some_op(1, keyword=2)


def test_dunder_names_are_not_ops():
    assert not hasattr(mmcv._ext, "__wrapped__")


def test_environment_report_names_the_stand_in():
    report = collect_env()
    assert "stand-in" in report["MMCV Compiler"]
    assert "stand-in" in report["MMCV CUDA Compiler"]
