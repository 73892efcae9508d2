"""Download of published weights: resumed, verified, and under its name only when whole.

The hashes of the published files are not known to us. The authors' hub, and mirrors of it, name a
large file's SHA-256 themselves, in the header ``X-Linked-ETag`` (or ``ETag``): that guards against
damage on the way, not against a hub that serves another file. So what comes is also checked to be
data that loading cannot run.
"""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from lsnet_mm.errors import InputError
from lsnet_mm.loading import check_checkpoint
from lsnet_mm.model_zoo import HUB, Weights

WAITS = (1, 2, 4, 8)  # seconds before each further try
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20  # bytes
SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
NUMBER = re.compile(r"[0-9]{1,18}")
RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
BUSY = (408, 429, 500, 502, 503, 504)  # answers of HTTP that may be others a moment later


class CutError(Exception):
    """The connection failed in a way that may pass; the message says how."""


@dataclass
class Answer:
    """A server's answer to a request for a file.

    Attributes:
        response: To read the body from.
        start: Where in the file the body starts, in bytes.
        size: Of the whole file, in bytes.
        sha256: Of the whole file, or None where the server does not name it.
        version: What the server tells this version of the file by, or an empty string.
    """

    response: HTTPResponse
    start: int
    size: int
    sha256: str | None
    version: str


def fetch(weights: Weights, out_dir: Path, hub: str = HUB, trust: bool = False) -> Path:
    """Download published weights, unless they are already there, and return their path.

    Args:
        weights: From :mod:`lsnet_mm.model_zoo`.
        out_dir: Folder to write to; made if missing.
        hub: URL of the folder they are in.
        trust: Take a file even if loading it could run a program hidden in it.

    Raises:
        InputError: As ``download``.
    """
    path = out_dir / weights.file_name
    check = None if trust else check_checkpoint
    download(f"{hub.rstrip('/')}/{weights.file_name}", path, check=check)
    return path


def download(
    url: str,
    path: Path,
    waits: Sequence[float] = WAITS,
    timeout: float = TIMEOUT,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Download a file, going on from what an earlier download left.

    What has come so far is in ``NAME.part`` beside ``path``, and the server's mark of this version
    of the file in ``NAME.part.version``: a part of another version is begun again. Shows a progress
    bar with the time left on a terminal.

    Args:
        url: Of http or https.
        path: File to write. If it is there, it is compared with the server's and left as it is.
        waits: Seconds to wait before each further try, after a connection that failed.
        timeout: Seconds without a byte after which a connection counts as failed.
        check: Called with the whole file before it gets its name; raises InputError to refuse it.

    Raises:
        InputError: If there is no such file, no connection or no room; if what came is not what the
            server announced or is refused, or what is there is not what the server has.
    """
    if urlparse(url).scheme not in ("http", "https"):
        raise InputError(f"downloads come from http:// or https:// addresses, got {url}")
    part = path.with_name(f"{path.name}.part")
    version = path.with_name(f"{path.name}.part.version")
    with _own(part, version) as file:
        for wait in (*waits, None):
            try:
                answer = _receive(url, path, file, version, timeout)
                break
            except CutError as error:
                if wait is None:
                    raise InputError(
                        f"{url}: {error}, in {len(waits) + 1} tries. What has come is in {part}: "
                        "the same command goes on from there"
                    ) from error
                tqdm.write(f"{path.name}: {error}; next try in {wait} s")
                time.sleep(wait)
        if path.exists():
            _verify(path, answer, "remove it, or choose another folder")
            file.truncate(0)
        else:
            _finish(file, part, path, answer, check)
            version.unlink(missing_ok=True)  # of a file without bytes there is none


@contextmanager
def _own(part: Path, version: Path) -> Iterator[BinaryIO]:
    """Open a partial file for appending, for this process alone; if it is empty, none stays."""
    with _disk_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab", buffering=0)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{part} is being written by another download") from error
        try:
            yield file
        finally:
            if not _size(file):
                part.unlink(missing_ok=True)
                version.unlink(missing_ok=True)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _receive(url: str, path: Path, file: BinaryIO, version: Path, timeout: float) -> Answer:
    """Append to ``file`` what it lacks, or nothing if ``path`` is there; return what was answered.

    Raises:
        CutError: If the connection fails; ``file`` holds what has come.
        InputError: As ``download``.
    """
    there = path.exists()
    have = 0 if there else _size(file)
    known = version.read_text() if have and version.exists() else ""
    with _connection_errors(url):
        answer = _ask(url, have, known, timeout)
        with answer.response:
            if not there:
                _write(answer, file, version)
    return answer


def _ask(url: str, have: int, version: str, timeout: float) -> Answer:
    """Ask for a file from byte ``have`` on, if the server still has the same version of it."""
    if have and version:
        try:
            answer = _open(url, {"Range": f"bytes={have}-", "If-Range": version}, timeout)
        except HTTPError as error:
            if error.code != 416:  # there is nothing from this byte on
                raise
        else:
            if answer.start == 0 or (answer.start == have and answer.version == version):
                return answer
            answer.response.close()
    return _open(url, {}, timeout)


def _open(url: str, headers: dict[str, str], timeout: float) -> Answer:
    redirects = Redirects()
    request = Request(url, headers={"User-Agent": "lsnet_mm", **headers})
    response = build_opener(redirects).open(request, timeout=timeout)
    found, linked = response.headers, redirects.linked
    content_range = RANGE.fullmatch(found.get("Content-Range", ""))
    start, size = 0, _bytes(found.get("Content-Length"))
    if response.status == 206:
        start, size = map(int, content_range.groups()) if content_range else (-1, None)
    listed = _bytes(linked.get("X-Linked-Size") or found.get("X-Linked-Size"))
    size = listed if size is None else size
    if size is None or listed not in (None, size):
        response.close()
        raise InputError(
            f"{url}: the server announces {'no number of' if size is None else size} bytes"
            + (": a cut could not be told" if size is None else f", but lists {listed}")
        )
    mark = found.get("ETag", "")
    sha256 = SHA256.fullmatch(linked.get("X-Linked-ETag") or found.get("X-Linked-ETag") or mark)
    return Answer(
        response,
        start,
        size,
        sha256 and sha256[1],
        version=mark if mark and not mark.startswith("W/") else found.get("Last-Modified", ""),
    )


def _bytes(text: str | None) -> int | None:
    """A number of bytes that a header announces; None if there is none."""
    return int(text) if text and NUMBER.fullmatch(text) else None


class Redirects(HTTPRedirectHandler):
    """Follows redirects, and keeps what the hub says of a file before it points to its storage.

    Attributes:
        linked: Those headers.
    """

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Return the request to go on with, as urllib makes it."""
        for name in ("X-Linked-ETag", "X-Linked-Size"):
            if name in headers:
                self.linked[name] = headers[name]
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _write(answer: Answer, file: BinaryIO, version: Path) -> None:
    """Append the body of an answer to ``file``, which is emptied first if that is the whole."""
    with _disk_errors(version):
        if answer.start == 0:
            file.truncate(0)
            version.write_text(answer.version)
        needed, free = answer.size - answer.start, shutil.disk_usage(version.parent).free
    if needed > free:
        raise InputError(
            f"{version.parent} has no room for {needed / 1e6:.1f} MB more: {free / 1e6:.1f} MB are "
            "free"
        )
    with tqdm(
        desc=version.name.removesuffix(".part.version"),
        total=answer.size,
        initial=answer.start,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        while data := answer.response.read1(CHUNK):
            bar.update(len(data))
            with _disk_errors(version):
                while data:
                    data = data[file.write(data) :]  # on a full disk, less than all
    if _size(file) < answer.size:
        raise CutError(f"the connection ended at byte {_size(file)} of {answer.size}")


def _finish(
    file: BinaryIO,
    part: Path,
    path: Path,
    answer: Answer,
    check: Callable[[Path], None] | None,
) -> None:
    """Give a whole file its name, once it is on the disk."""
    try:
        _verify(part, answer, "it was removed; try again, or another --hub")
        if check:
            check(part)
    except InputError:
        file.truncate(0)
        raise
    with _disk_errors(path):
        os.fsync(file.fileno())
        part.replace(path)


def _verify(path: Path, answer: Answer, remedy: str) -> None:
    """Compare a file with what the server says of it."""
    size = path.stat().st_size
    if size != answer.size:
        raise InputError(f"{path} has {size} bytes, the server's file {answer.size}: {remedy}")
    if answer.sha256 is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    if digest.hexdigest() != answer.sha256:
        raise InputError(
            f"{path} has the SHA-256 {digest.hexdigest()}, the server's file {answer.sha256}: "
            f"{remedy}"
        )


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Put words to what goes wrong on the disk."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {path.parent} ({error.strerror}): make room, or choose a folder of "
            "your own with --out-dir"
        ) from error


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Tell errors of the connection that may pass from those that will not."""
    try:
        yield
    except HTTPError as error:
        answer = f"the server answers {error.code} ({error.reason})"
        if error.code in BUSY:
            raise CutError(answer) from error
        raise InputError(f"{url}: {answer}. Is it the right --hub?") from error
    except URLError as error:
        if isinstance(error.reason, socket.gaierror):
            name = urlparse(url).hostname
            raise InputError(
                f"{url}: there is no network here, or no server {name}. Download the file "
                "elsewhere, or name a mirror with --hub URL"
            ) from error
        raise CutError(f"no connection ({error.reason})") from error
    except (HTTPException, OSError, OverflowError) as error:
        raise CutError(f"the connection failed ({error or type(error).__name__})") from error
