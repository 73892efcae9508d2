"""Downloads from a server of the loopback interface that misbehaves as servers do."""

import fcntl
import hashlib
import re
import resource
import runpy
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lsnet_mm.download import download
from lsnet_mm.errors import InputError
from lsnet_mm.model_zoo import published, table
from lsnet_mm.models.pretrained import read_checkpoint
from tests.conftest import ROOT

CONTENT = bytes(range(256)) * 1200
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "lsnet_t.pth"


class Hub(ThreadingHTTPServer):
    """Serves one file.

    Attributes:
        content: Of the file.
        etag: Of the file.
        cuts: After how many bytes of the body to cut each of the next answers.
        announced: Bytes announced instead of the body's own number; 0 announces nothing.
        ranges: Whether requests for a part are answered with a part.
        heeds_if_range: Whether such a request for another version is answered with the whole.
        statuses: Of the next answers, without a body.
        redirect: Headers of an answer that points elsewhere, as the authors' hub gives; or None.
        asked: Headers ``Range`` and ``If-Range`` of each request for the file.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = CONTENT, '"one"'
        self.cuts, self.announced = [], None
        self.ranges = self.heeds_if_range = True
        self.statuses, self.redirect, self.asked = [], None, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub = self.server
        if hub.redirect is not None and not self.path.startswith("/storage"):
            return self.answer(302, {"Location": f"/storage/{NAME}", **hub.redirect}, b"")
        hub.asked.append((self.headers["Range"], self.headers["If-Range"]))
        if hub.statuses:
            return self.answer(hub.statuses.pop(0), {}, b"")
        total, start = len(hub.content), 0
        headers = {"ETag": hub.etag} if hub.etag else {}
        same = self.headers["If-Range"] == hub.etag or not hub.heeds_if_range
        if hub.ranges and self.headers["Range"] and same:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                return self.answer(416, {"Content-Range": f"bytes */{total}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        return self.answer(206 if start else 200, headers, hub.content[start:])

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        hub = self.server
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        size = len(body) if hub.announced is None or status == 302 else hub.announced
        if size or not body:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        cut = hub.cuts.pop(0) if hub.cuts and body else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "weights" / NAME


def get(hub: Hub, path: Path, tries: int = 3) -> None:
    download(hub.url, path, waits=[0] * (tries - 1), timeout=5)


def refused(hub: Hub, path: Path, tries: int = 3) -> str:
    with pytest.raises(InputError) as raised:
        get(hub, path, tries)
    return str(raised.value)


def whole(path: Path) -> bool:
    """Tell whether the file is there, whole, and nothing else is."""
    return path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


def test_file_comes_whole(hub, path):
    get(hub, path)
    assert whole(path)
    assert hub.asked == [(None, None)]


def test_cut_connections_are_resumed(hub, path):
    hub.cuts = [1000, 100_000]
    get(hub, path)
    assert whole(path)
    assert hub.asked == [(None, None), ("bytes=1000-", '"one"'), ("bytes=101000-", '"one"')]


def test_waits_grow_and_are_announced(hub, path, monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    hub.cuts = [10, 10, 10]
    download(hub.url, path)
    assert waited == [1, 2, 4]
    assert "the connection ended at byte 10 of 307200; next try in 1 s" in capsys.readouterr().out


def test_later_run_goes_on_from_what_came(hub, path):
    hub.cuts = [5000]
    message = refused(hub, path, tries=1)
    part = path.with_name(f"{NAME}.part")
    assert f"the connection ended at byte 5000 of {len(CONTENT)}, in 1 tries" in message
    assert str(part) in message
    assert not path.exists()
    assert part.read_bytes() == CONTENT[:5000]
    get(hub, path)
    assert whole(path)
    assert hub.asked[1:] == [("bytes=5000-", '"one"')]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_file_that_changed_meanwhile_is_begun_again(heeds_if_range, hub, path):
    hub.content, hub.cuts = b"old" * 5000, [7000]
    refused(hub, path, tries=1)
    hub.content, hub.etag, hub.heeds_if_range = CONTENT, '"two"', heeds_if_range
    get(hub, path)
    assert whole(path)
    assert hub.asked[1] == ("bytes=7000-", '"one"')


def test_file_that_became_shorter_is_begun_again(hub, path):
    hub.content, hub.cuts = CONTENT * 2, [len(CONTENT) + 1]
    refused(hub, path, tries=1)
    hub.content, hub.heeds_if_range = CONTENT, False
    get(hub, path)
    assert whole(path)


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', None])
def test_servers_that_cannot_go_on_begin_again(etag, hub, path):
    hub.cuts, hub.ranges, hub.etag = [9000], etag != '"one"', etag
    get(hub, path)
    assert whole(path)
    assert hub.asked[1] == (("bytes=9000-", etag) if etag == '"one"' else (None, None))


def test_part_of_unknown_origin_is_not_gone_on_from(hub, path):
    path.parent.mkdir()
    path.with_name(f"{NAME}.part").write_bytes(b"something else")
    get(hub, path)
    assert whole(path)
    assert hub.asked == [(None, None)]


def test_hubs_own_hash_and_size_are_heeded(hub, path):
    hub.redirect = {"X-Linked-ETag": f'"{DIGEST}"', "X-Linked-Size": str(len(CONTENT))}
    hub.cuts = [1000]
    get(hub, path)
    assert whole(path)
    assert hub.asked == [(None, None), ("bytes=1000-", '"one"')]


@pytest.mark.parametrize("where", ["hub", "storage"])
def test_wrong_hash_is_refused(where, hub, path):
    if where == "hub":
        hub.redirect = {"X-Linked-ETag": f'"{"0" * 64}"'}
    else:
        hub.etag = f'"{"0" * 64}"'
    message = refused(hub, path)
    assert f"has the SHA-256 {DIGEST}, the server's file {'0' * 64}" in message
    assert not any(path.parent.iterdir())


def test_wrong_sizes_are_refused(hub, path):
    hub.redirect = {"X-Linked-Size": "5"}
    assert "announces 307200 bytes, but lists 5" in refused(hub, path)
    hub.redirect, hub.announced = None, 400_000
    hub.ranges = False
    assert "the connection ended at byte 307200 of 400000, in 3 tries" in refused(hub, path)
    hub.announced = 0
    assert "announces no number of bytes: a cut could not be told" in refused(hub, path)
    assert not path.exists()


def test_whole_file_is_not_fetched_again_and_another_is_left_alone(hub, path):
    get(hub, path)
    written = path.stat().st_mtime_ns
    hub.cuts = [0]
    get(hub, path)
    assert path.stat().st_mtime_ns == written
    assert whole(path)
    hub.etag = f'"{DIGEST}"'
    path.write_bytes(CONTENT[::-1])
    assert "remove it, or choose another folder" in refused(hub, path)
    path.write_bytes(b"mine")
    assert f"{path} has 4 bytes, the server's file 307200" in refused(hub, path)
    assert path.read_bytes() == b"mine"
    assert list(path.parent.iterdir()) == [path]


def test_busy_server_is_asked_again_but_not_for_what_is_not_there(hub, path):
    hub.statuses = [503, 429]
    get(hub, path)
    assert whole(path)
    hub.statuses = [404, 404]
    message = refused(hub, path.with_name("other.pth"))
    assert "the server answers 404 (Not Found). Is it the right --hub?" in message
    assert len(hub.statuses) == 1
    assert whole(path)
    hub.statuses = [500] * 3
    assert "the server answers 500 (Internal Server Error), in 3 tries" in refused(hub, path)


def test_missing_network_is_told(hub, path):
    with pytest.raises(InputError, match=r"no network here, or no server hub\.invalid"):
        download(f"http://hub.invalid/{NAME}", path)
    hub.server_close()
    assert "no connection ([Errno 111] Connection refused), in 2 tries" in refused(hub, path, 2)
    with pytest.raises(InputError, match="got ftp://hub"):
        download("ftp://hub/x", path)
    assert not any(path.parent.iterdir())


def test_silent_server_is_given_up(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent:  # which accepts and never reads
        url = f"http://127.0.0.1:{silent.server_port}/x"
        with pytest.raises(InputError, match=r"timed out\), in 1 tries"):
            download(url, tmp_path / NAME, waits=(), timeout=0.1)


def test_full_disk_is_told_before_and_during(hub, path, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage)
        assert "has no room for 0.3 MB more: 0.0 MB are free" in refused(hub, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        message = refused(hub, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"cannot write to {path.parent} (File too large): make room" in message
    assert not path.exists()
    get(hub, path)  # what had come is gone on from
    assert whole(path)
    assert hub.asked[-1] == ("bytes=100000-", '"one"')


def test_unusable_folder_is_told(hub, tmp_path):
    (tmp_path / "file").touch()
    message = refused(hub, tmp_path / "file" / NAME)
    assert f"cannot write to {tmp_path / 'file'} (" in message
    assert "choose a folder of your own with --out-dir" in message
    assert "cannot write to /proc/none" in refused(hub, Path("/proc/none") / NAME)


def test_two_downloads_do_not_mix(hub, path):
    path.parent.mkdir()
    with path.with_name(f"{NAME}.part").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is being written by another download" in refused(hub, path)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; return its exit status, standard output and error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.syspath_prepend(str(ROOT / "tools"))
        monkeypatch.setattr(sys, "argv", ["download.py", *arguments])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools/download.py"), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_tool_fetches_a_checkpoint(tool, hub, path, tmp_path):
    torch.save({"model": {"weight": torch.arange(3)}}, tmp_path / "made.pth")
    hub.content = (tmp_path / "made.pth").read_bytes()
    status, shown, errors = tool(
        "lsnet_t", "--out-dir", str(path.parent), "--hub", hub.url.removesuffix(NAME)
    )
    assert status == 0, errors
    assert shown == f"{path}, to test it: python tools/test.py configs/lsnet_t_imagenet.py {path}\n"
    assert read_checkpoint(str(path))["model"]["weight"].tolist() == [0, 1, 2]


def test_tool_lists_what_there_is(tool):
    status, shown, _ = tool("--list")
    assert status == 0
    assert shown.splitlines() == table()
    for name, weights in published().items():
        assert re.search(rf"^{name} +\S+: .* {weights.config}$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["lsnet_t_retina"], 1, "error: there are no published weights called 'lsnet_t_retina'"),
        ([], 2, "give the NAME of weights, or --list"),
    ],
)
def test_tool_tells_what_is_wrong(arguments, status, message, tool):
    found, _, errors = tool(*arguments)
    assert found == status
    assert message in errors


def test_interrupted_tool_says_how_to_go_on(tool, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lsnet_mm.download.fetch", interrupt)
    status, _, errors = tool("lsnet_t")
    assert status == 130
    assert errors == "interrupted: the same command goes on from here\n"
