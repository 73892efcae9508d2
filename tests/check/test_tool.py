"""The tool: its exit status, its errors, Ctrl-C."""

import os
import runpy
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.check.test_run import SHAPES, cut, image
from tests.conftest import ROOT


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; return its exit status, standard output and error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.syspath_prepend(str(ROOT / "tools"))
        monkeypatch.setattr(sys, "argv", ["check_dataset.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools/check_dataset.py"), run_name="__main__")
        return stop.value.code, *capsys.readouterr()

    return run


def test_tool_ends_with_a_status(tool, data):
    arguments = (SHAPES, "--work-dir", str(data.parent / "work"), "--workers", "2")
    options = ("--cfg-options", f"data_root={data}")
    status, shown, _ = tool(*arguments, *options)
    assert status == 0
    assert "all is well: 22 images looked at" in shown
    cut(image(data, 1))
    status, shown, _ = tool(*arguments, *options)
    assert status == 1
    assert f"error: files that do not decode (1)\n  {image(data, 1)}: " in shown
    status, shown, _ = tool(*arguments, "--sample", "1", "--cfg-options", f"data_root={data}")
    assert "1 of them looked at" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((SHAPES, "--cfg-options", "data_root=none"), 1, "error: data not found:"),
        (("none.py",), 1, "error: config not found: none.py"),
        ((SHAPES, "--sample", "0"), 2, "'0' is not a whole number of 1 or more"),
        ((SHAPES, "--workers", "two"), 2, "'two' is not a whole number of 1 or more"),
    ],
)
def test_tool_tells_of_wrong_arguments(arguments, status, message, tool):
    found, _, errors = tool(*arguments)
    assert found == status
    assert message in errors


def test_tool_ends_cleanly_on_ctrl_c(data):
    pipe = image(data, 4)
    pipe.unlink()
    os.mkfifo(pipe)  # a worker that reads from it waits for ever
    arguments = ("--work-dir", str(data.parent / "work"), "--workers", "2")
    command = [sys.executable, "tools/check_dataset.py", SHAPES, *arguments]
    process = subprocess.Popen(
        [*command, "--cfg-options", f"data_root={data}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells have what they start in the background ignore Ctrl-C: these tests, for instance.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    writer = wait_for_reader(pipe)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    os.close(writer)
    assert process.returncode == 130
    assert "interrupted: not all was checked" in errors
    assert "Traceback" not in errors


def wait_for_reader(pipe: Path) -> int:
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.1)
    raise TimeoutError(pipe)
