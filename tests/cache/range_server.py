"""A web server for a folder that knows byte ranges, counts what it is asked for, and fails when told to."""

import contextlib
import gzip
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, get_args

Failure = Literal[
    "stop",
    "hang up",
    "status 500",
    "short",
    "endless",
    "terabyte",
    "gzip",
    "drip",
    "dripping header",
    "silence",
    "another range",
    "no range",
    "more",
    "loop",
    "to a file",
]
"""Stop in the middle of the body, or before any answer; answer with an error, or with half of the bytes asked for.

What only a hostile server does: a body without an end, or of a terabyte; a compressed one; a byte at a time, or none;
bytes of another place, or more than asked for; redirections to itself, or to a file of the reader.
"""

HOSTILE = get_args(Failure)[4:]


class RangeServer:
    """Serves `folder` on a free port of this computer while its `with` block lasts.

    Attributes:
        url: where the folder is.
        requests: how often each file was asked for.
        ranges: whether byte ranges are honoured.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: Counter[str] = Counter()
        self.ranges = True
        self._failures: dict[str, tuple[Failure, int]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, name: str, failure: Failure, times: int = 1000) -> None:
        """Fail when next asked for the file `name`, as many `times`."""
        self._failures[name] = (failure, times)

    def failure(self, name: str) -> Failure | None:
        """How to fail this time."""
        failure, times = self._failures.pop(name, (None, 0))
        if failure is not None and times > 1:
            self._failures[name] = (failure, times - 1)
        return failure

    def __enter__(self) -> "RangeServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(server: RangeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            server.requests[name] += 1
            file = server.folder / name
            failure = server.failure(name)
            if failure == "hang up":
                self.close_connection = True
                return
            if failure == "status 500" or not file.is_file():
                self.send_error(500 if failure else 404)
                return
            content = file.read_bytes()
            if failure in HOSTILE:
                self.close_connection = True
                with contextlib.suppress(OSError):  # the reader has had enough
                    self._attack(failure, content)
                return
            start, stop = self._range(len(content)) if server.ranges else (0, len(content))
            if start >= stop:
                self.send_error(416)
                return
            body = content[start:stop]
            if failure == "short":
                body = body[: len(body) // 2]
            self.send_response(206 if "Range" in self.headers and server.ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if failure == "stop" else body)
                self.close_connection = failure == "stop"

        def _attack(self, how: Failure, content: bytes) -> None:
            start, stop = self._range(len(content))
            stated = {
                "another range": f"bytes {start + 1}-{stop}/{stop + 1}",
                "more": f"bytes {start}-{stop - 1}/{len(content)}",
                "no range": "",
            }
            if how == "silence":
                time.sleep(2)
                return
            if how == "dripping header":
                self._drip(b"HTTP/1.1 200 OK\r\n" + b"X-Nothing: there\r\n" * 100)
                return
            if how in ("loop", "to a file"):
                self.send_response(302)
                self.send_header("Location", self.path if how == "loop" else (server.folder / "x").as_uri())
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if how in stated else 200)
            if stated.get(how):
                self.send_header("Content-Range", stated[how])
            if how == "gzip":
                self.send_header("Content-Encoding", "gzip")
            if how == "terabyte":
                self.send_header("Content-Length", str(10**12))
            self.end_headers()
            if how in ("endless", "terabyte"):
                while True:
                    self.wfile.write(b" " * 65536)
            elif how == "drip":
                self._drip(content)
            else:
                part = gzip.compress(b" " * 10**6) if how == "gzip" else content[start:stop]
                for _ in range(1000):
                    self.wfile.write(part)

        def _drip(self, content: bytes) -> None:
            for place in range(len(content)):
                self.wfile.write(content[place : place + 1])
                time.sleep(0.02)

        def _range(self, size: int) -> tuple[int, int]:
            """First byte and the one after the last of the range asked for, as far as the file has them."""
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "bytes=0-"))
            first, last = asked[1], asked[2]
            if not first:
                return max(0, size - int(last)), size
            return int(first), min(int(last) + 1, size) if last else size

    return Handler
