"""What `make lint` says of known vulnerabilities; pip-audit's own answers are its own to test."""

import io
import json
import subprocess
from urllib.error import URLError

import pytest

from tests import audit

CLEAN = dict(name="jinja2", version="3.1.6", vulns=[])
SKIPPED = dict(name="lsnet-mm", skip_reason="distribution marked as editable")
BAD = dict(
    name="requests",
    version="2.19.0",
    vulns=[dict(id="CVE-2018-18074", fix_versions=["2.20.0"]), dict(id="X-1", fix_versions=[])],
)


@pytest.fixture
def answers(monkeypatch):
    """Make PyPI answer the probe, and pip-audit find of the packages what is given."""

    def give(probe: str, packages: list[dict] | None = None) -> None:
        found = "" if packages is None else json.dumps(dict(dependencies=packages))
        monkeypatch.setattr(audit, "urlopen", lambda *_, **__: io.BytesIO(probe.encode()))
        done = subprocess.CompletedProcess((), 1, stdout=found)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    return give


def test_nothing_known_passes(answers, capsys):
    answers('{"vulnerabilities": []}', [CLEAN, SKIPPED])
    assert audit.main([]) == 0
    assert "Audited 1 of 2 packages" in capsys.readouterr().out


def test_each_vulnerability_is_told_with_what_fixes_it(answers):
    answers('{"vulnerabilities": []}', [CLEAN, BAD])
    assert audit.main([]).splitlines() == [
        "requests 2.19.0: CVE-2018-18074, fixed in 2.20.0",
        "requests 2.19.0: X-1, fixed in no version yet",
    ]


def test_a_failed_audit_is_no_pass(answers):
    answers('{"vulnerabilities": []}')
    assert audit.main([]) == "pip-audit failed, see above"


@pytest.mark.parametrize("probe", ["<html>", "{}", None])
def test_where_there_are_no_advisories_a_line_says_so(probe, answers, monkeypatch, capsys):
    answers(probe or "")
    if probe is None:

        def refuse(*_, **__):
            raise URLError("no route")

        monkeypatch.setattr(audit, "urlopen", refuse)
    assert audit.main([]) == 0
    assert capsys.readouterr().out.startswith("Not audited for known vulnerabilities")
