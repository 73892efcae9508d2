"""The authors' published weights: what ``metafile.yml`` says of them."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from lsnet_mm.errors import InputError

METAFILE = Path(__file__).with_name("metafile.yml")
HUB = "https://huggingface.co/jameslahm/lsnet/resolve/main/"


@dataclass(frozen=True)
class Result:
    """A result as the authors published it; not measured by us.

    Attributes:
        task: In the words of mm's model index, e.g. ``'Object Detection'``.
        dataset: What it was measured on.
        metrics: By name: mCE, or per cent.
    """

    task: str
    dataset: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    Attributes:
        name: As that of the file, without ``.pth``.
        config: The config it is of, relative to the repository's root.
        parameters: Of the whole network.
        results: One or more; the first is of the data set it was trained on.
        url: In the authors' hub.
    """

    name: str
    config: str
    parameters: int
    results: tuple[Result, ...]
    url: str

    @property
    def file_name(self) -> str:
        """The name of the file."""
        return f"{self.name}.pth"


@cache
def published() -> dict[str, Weights]:
    """Return all published weights by name."""
    entries = yaml.safe_load(METAFILE.read_text(encoding="utf-8"))["Models"]
    return {entry["Name"]: _weights(entry) for entry in entries}


def _weights(entry: dict) -> Weights:
    results = tuple(
        Result(found["Task"], found["Dataset"], found["Metrics"]) for found in entry["Results"]
    )
    parameters = entry["Metadata"]["Parameters"]
    return Weights(entry["Name"], entry["Config"], parameters, results, entry["Weights"])


def find(name: str) -> Weights:
    """Return the published weights of a name.

    Raises:
        InputError: If there are none, with the names that come near.
    """
    known = published()
    if name in known:
        return known[name]
    near = get_close_matches(name.removesuffix(".pth"), known, n=3, cutoff=0.7)
    raise InputError(
        f"there are no published weights called {name!r}: "
        + (f"do you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}")
    )


def table() -> list[str]:
    """Return lines on all published weights: name, the authors' results, config."""
    return [
        f"{weights.name:18} {_in_words(weights.results[0]):80} {weights.config}"
        for weights in published().values()
    ]


def _in_words(result: Result) -> str:
    metrics = ", ".join(f"{name} {value}" for name, value in result.metrics.items())
    return f"{result.dataset}: {metrics}"
