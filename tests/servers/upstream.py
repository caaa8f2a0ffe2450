"""A small HTTP server on the loopback interface that says who it is and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Upstream:
    """`seen` are the requests so far, each as it came in; `wait_for` waits until there are so many."""

    def __init__(self, name: str, status: int = 200) -> None:
        self.name = name
        self.status = status
        self.seen: list[dict[str, Any]] = []
        self.port = 0
        self.hold: Callable[[], object] = lambda: None  # called before an answer goes out
        self._came = threading.Condition()

    def add(self, request: dict[str, Any]) -> None:
        with self._came:
            self.seen.append(request)
            self._came.notify_all()

    def wait_for(self, number: int, patience: float = 10.0) -> list[dict[str, Any]]:
        give_up = time.monotonic() + patience
        with self._came:
            while len(self.seen) < number and time.monotonic() < give_up:
                self._came.wait(0.1)
        assert len(self.seen) >= number, self.seen
        return self.seen


@contextmanager
def upstreams(*names: str) -> Iterator[list[Upstream]]:
    """One server for each name."""
    with ExitStack() as stack:
        yield [stack.enter_context(_running(Upstream(name))) for name in names]


@contextmanager
def _running(upstream: Upstream) -> Iterator[Upstream]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            upstream.add({"method": self.command, "path": self.path, "headers": headers, "body": body})
            upstream.hold()
            text = json.dumps({"name": upstream.name, "path": self.path, "host": headers["host"]}).encode()
            self.send_response(upstream.status)
            self.send_header("content-length", str(len(text)))
            self.send_header("x-served-by", upstream.name)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the other side went away

    server = Server(("127.0.0.1", 0), Handler)
    upstream.port = server.server_port
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
