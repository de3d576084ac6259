"""A web server for a folder that knows byte ranges, counts what it is asked for, and fails when told to."""

import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

Failure = Literal["stop", "hang up", "status 500", "short"]
"""Stop in the middle of the body, or before any answer; answer with an error, or with half of the bytes asked for."""


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

        def _range(self, size: int) -> tuple[int, int]:
            """First byte and the one after the last of the range asked for, as far as the file has them."""
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "bytes=0-"))
            first, last = asked[1], asked[2]
            if not first:
                return max(0, size - int(last)), size
            return int(first), min(int(last) + 1, size) if last else size

    return Handler
