"""A web server for tests: Python's own, with ranges, and with faults where they are asked for.

A fault is one of: the connection drops at a random byte, 503, a body shorter than it should be, a late answer.
"""

from __future__ import annotations

import http.server
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FAULTS = ("drop", "503", "short", "late")


@dataclass
class Faults:
    """How many faults are still to come, at which odds, and what has been done. kinds: of FAULTS; late: seconds; dated:
    whether files have dates; closed: whether a login is asked for."""

    left: int = 0
    odds: float = 0.5
    kinds: tuple[str, ...] = FAULTS
    seed: int = 0
    late: float = 0.05
    done: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    ranges: bool = True
    dated: bool = False
    closed: bool = False
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def next(self, path: str, *, body: bool) -> tuple[str | None, float]:
        """The fault of this answer, and where in its body, if it has one."""
        kinds = [kind for kind in self.kinds if body or kind in ("503", "late")]
        with self._lock:
            self.asked[path] += 1
            if self.left < 1 or not kinds or self._random.random() >= self.odds:
                return None, 1.0
            self.left -= 1
            kind = self._random.choice(kinds)
            self.done[kind] += 1
            return kind, self._random.random()


@contextmanager
def served(folder: Path, faults: Faults | None = None) -> Iterator[str]:
    """The URL of a server of what is in `folder`."""
    told = faults or Faults()

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            told.headers.append(dict(self.headers))
            path = Path(self.translate_path(self.path))
            if path.is_dir():
                return super().do_GET() if body else super().do_HEAD()
            if not path.is_file():
                return self.send_error(404)
            if told.closed:
                return self.send_error(401)
            kind, where = told.next(self.path, body=body)
            if kind == "503":
                self.close_connection = True
                return self.send_error(503)
            if kind == "late":
                time.sleep(told.late)
            data, code = path.read_bytes(), 200
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            size = len(data)
            if found and told.ranges:
                first, last = int(found[1]), int(found[2] or size - 1)
                data, code = data[first : last + 1], 206
            sent = data[: int(len(data) * where)] if kind in ("drop", "short") else data
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent) if kind == "short" else len(data)))
            if told.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if told.dated:
                self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
            if code == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            if body:
                self.wfile.write(sent)
                told.sent += len(sent)
            if kind in ("drop", "short"):
                self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """`python -m tests.web FOLDER`: serve until stdin ends; prints the URL."""
    import sys

    with served(Path(sys.argv[1])) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
