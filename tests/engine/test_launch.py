"""How tools/launch.py starts processes."""

import socket
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture
def launch(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import launch

    return launch


def test_a_port_in_use_is_an_error_before_the_start(launch, monkeypatch, capsys):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        assert launch.main("1", "tools/train.py") == 2
    assert f"error: port {port} is in use on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (dict(MAX_RESTARTS="often"), "MAX_RESTARTS must be a number, got 'often'"),
        (dict(MAX_RESTARTS="1", NNODES="2"), "MAX_RESTARTS is for a single machine"),
    ],
)
def test_restarts_are_checked(variables, message, launch):
    with pytest.raises(ValueError, match=message):
        launch.restarts(variables)


def test_restarts_are_handed_to_torchrun(launch):
    assert launch.restarts({"MAX_RESTARTS": "3"}) == ["--max-restarts=3"]
    assert launch.restarts({}) == ["--max-restarts=0"]
