"""What holds for every command-line tool."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

NO_TOOLS = ("launch.py", "options.py")  # imported or run by others
TOOLS = [path for path in sorted((ROOT / "tools").glob("*.py")) if path.name not in NO_TOOLS]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(tool):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'mmengine', 'lsnet_mm', 'numpy', 'PIL'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tool), "--help"]
    environment = {"PYTHONPATH": str(ROOT / "tools"), "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "usage:" in shown.stdout
