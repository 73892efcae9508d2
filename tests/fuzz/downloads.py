"""Downloads, from a server that answers anything."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from lsnet_mm.download import download
from lsnet_mm.errors import InputError

from .change import change_bytes, change_tree, odd_value
from .engine import Target


class Downloads(Target):
    """What a server may answer to a download: a file's bytes are headers, an empty line, a body."""

    body = bytes(range(256)) * 8

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server: ThreadingHTTPServer | None = None
        self.answer = b""

    def start(self, random: Random) -> dict:
        return {
            "status": 200,
            "headers": {
                "Content-Length": str(len(self.body)),
                "ETag": '"abc"',
                "X-Linked-Size": str(len(self.body)),
                "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT",
            },
        }

    def change(self, value: Any, random: Random) -> Any:
        headers = value.get("headers") if isinstance(value, dict) else None
        if isinstance(headers, dict) and random.random() < 0.4:
            name, text = random.choice(
                (
                    ("Content-Range", "bytes 0-2047/2048"),
                    ("Content-Range", "bytes 100-2047/99999999999999"),
                    ("X-Linked-ETag", f'"{"0" * 64}"'),
                    ("Transfer-Encoding", "chunked"),
                    ("Content-Length", "99999999999999999999"),
                    ("Content-Encoding", "gzip"),
                    ("Location", "/again"),
                )
            )
            headers[name] = text
            return value
        if isinstance(value, dict) and random.random() < 0.3:
            value["status"] = random.choice((206, 301, 302, 304, 404, 416, 503, 100, 0, 999))
            return value
        return change_tree(value, random, odd_value)

    def encode(self, value: Any, random: Random) -> bytes:
        if not isinstance(value, dict):
            return str(value).encode("utf-8", "replace")
        lines = [f"HTTP/1.1 {value.get('status')} OK"]
        headers = value.get("headers")
        if isinstance(headers, dict):
            lines += [f"{name}: {text}" for name, text in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body

    def change_bytes(self, data: bytes, random: Random) -> bytes:
        end = data.find(b"\r\n\r\n") + 4
        return change_bytes(data[:end], random) + data[end:] if end > 3 else data

    def _serve(self) -> str:
        if self.server is None:
            target = self

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.wfile.write(target.answer)
                    self.close_connection = True

                def log_message(self, *_: object) -> None:
                    pass

            self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def read(self, path: Path) -> bool:
        url = f"{self._serve()}/{path.name}.pth"  # in the child process: threads do not fork
        self.answer = path.read_bytes()
        folder = self.folder / f"out_{path.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        out = folder / "weights.pth"
        if len(self.answer) % 2:  # an earlier download was cut
            (folder / "weights.pth.part").write_bytes(self.body[:100])
            (folder / "weights.pth.part.version").write_text('"abc"')
        try:
            download(url, out, waits=(), timeout=1)
        except InputError:
            assert not out.exists(), "a file that was refused is there"
            raise
        finally:
            found = out.read_bytes() if out.exists() else None
            shutil.rmtree(folder)
        # A server may send another file, but if it is the body that it had, it came whole.
        assert found is not None
        return found == self.body
