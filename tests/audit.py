"""Known vulnerabilities of installed packages: ``python -m tests.audit``, part of ``make lint``.

pip-audit asks PyPI's JSON interface for advisories. Where that cannot be had, behind a mirror for
example, it passes over every package in silence; here a line says that nothing was audited.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any
from urllib.request import urlopen

PROBE = f"https://pypi.org/pypi/pip/{version('pip')}/json"  # as pip-audit asks, for one release
COMMAND = ("-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off")


def advisories_can_be_had() -> bool:
    """Whether PyPI's JSON interface answers for a release."""
    try:
        with urlopen(PROBE, timeout=10) as answer:
            return "vulnerabilities" in json.load(answer)
    except (OSError, ValueError):
        return False


def findings(packages: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each vulnerability in what ``pip-audit --format json`` found of ``packages``."""
    return [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]


def main(arguments: Sequence[str]) -> str | int:
    """Audit this environment; ``arguments`` are pip-audit's, such as ``--ignore-vuln ID``.

    Returns:
        0 if nothing is known against it or no advisories can be had, else the findings.
    """
    if not advisories_can_be_had():
        print(f"Not audited for known vulnerabilities: no advisories from {PROBE}")
        return 0
    command = [sys.executable, *COMMAND, "--format", "json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        return "pip-audit failed, see above"
    packages = json.loads(done.stdout)["dependencies"]
    audited = sum("vulns" in package for package in packages)
    print(f"Audited {audited} of {len(packages)} packages for known vulnerabilities")
    return "\n".join(findings(packages)) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
