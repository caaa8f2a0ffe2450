"""What does one exchange cost? Our pool against the bare floor, aiohttp and httpx (those that are installed).

    python benchmarks/wire.py [--loop uvloop] [--seconds 1] [--rounds 5] [--post]

The floor, "rawproto+deadline", is an asyncio.Protocol with httptools, a list of idle connections, and a timer per
request: about the least that a correct client in Python can do. The upstream is a child process on the other core: a
protocol that answers every request head with one canned response. Runs are interleaved; the table shows medians, and
the ratio to the floor within the same round. Trust the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

CONCURRENCY = (1, 32, 128)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 56\r\nConnection: keep-alive\r\n\r\n"
) + b'{"a": 1234567890}'.ljust(56)
GET = b"GET /json HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n"
BODY = json.dumps({"text": "x" * 10_000}).encode()
HEAD = b"POST /json HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
POST = HEAD % len(BODY)
JSON = {"Content-Type": "application/json"}
Once = Callable[[], Awaitable[object]]


def pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def serve() -> None:
    """The upstream. A request is over when its announced length has come; nobody here pipelines."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.missing = 0

        def data_received(self, data: bytes) -> None:
            if self.missing:
                self.missing -= len(data)
            else:
                end = data.index(b"\r\n\r\n") + 4
                at = data.lower().find(b"content-length: ", 0, end)
                length = int(data[at + 16 : data.index(b"\r\n", at)]) if at >= 0 else 0
                self.missing = length - (len(data) - end)
            if not self.missing:
                self.transport.write(ANSWER)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    pin(1)
    run(main(), "uvloop" if importlib.util.find_spec("uvloop") else "asyncio")


class RawProtocol(asyncio.Protocol):
    """The floor. No limits, no cancellation, no refusal of anything: only what must be there."""

    def __init__(self, idle: list[RawProtocol], at_once: int | None = None) -> None:
        import httptools

        self.idle = idle
        self.at_once = at_once
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.waiter: asyncio.Future[Any]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.at_once is not None and hasattr(transport, "max_size"):
            transport.max_size = self.at_once

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        answer = (self.parser.get_status_code(), self.headers, b"".join(self.body))
        self.headers, self.body = [], []
        if self.parser.should_keep_alive():
            self.idle.append(self)
        else:
            self.transport.close()
        if not self.waiter.done():
            self.waiter.set_result(answer)

    def too_late(self) -> None:
        self.transport.abort()
        if not self.waiter.done():
            self.waiter.set_exception(TimeoutError())


async def floor(
    port: int, post: bool, written: Callable[[], bytes] = lambda: BODY, at_once: int | None = None
) -> tuple[Once, Once]:
    """`written` gives the body of each POST; `at_once` is how many bytes to read from a socket in one go, where the
    event loop lets one say (asyncio; None: its own 256 KiB)."""
    idle: list[RawProtocol] = []
    loop = asyncio.get_running_loop()

    async def once() -> Any:
        request = GET
        if post:
            body = written()
            request = HEAD % len(body) + body
        if idle:
            protocol = idle.pop()
        else:
            _, protocol = await loop.create_connection(lambda: RawProtocol(idle, at_once), "127.0.0.1", port)
        protocol.waiter = loop.create_future()
        timer = loop.call_later(5.0, protocol.too_late)
        protocol.transport.write(request)
        try:
            return await protocol.waiter
        finally:
            timer.cancel()

    async def close() -> None:
        for protocol in idle:
            protocol.transport.close()

    return once, close


async def ours(port: int, post: bool) -> tuple[Once, Once]:
    from meshlib.wire.connection_pool import Pool

    pool = Pool("127.0.0.1", port)
    head, body, method = (POST, BODY, b"POST") if post else (GET, b"", b"GET")
    safe = not post

    async def once() -> object:
        return await pool.exchange(
            head, body, method=method, connect=5.0, read=5.0, write=5.0, pool=5.0, replayable=safe
        )

    return once, pool.aclose


async def aiohttp(port: int, post: bool) -> tuple[Once, Once]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5))
    url = f"http://127.0.0.1:{port}/json"

    async def once() -> object:
        async with session.post(url, data=BODY, headers=JSON) if post else session.get(url) as response:
            return await response.read()

    return once, session.close


async def httpx(port: int, post: bool) -> tuple[Once, Once]:
    import httpx

    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
    url = f"http://127.0.0.1:{port}/json"

    async def once() -> object:
        return await (client.post(url, content=BODY, headers=JSON) if post else client.get(url))

    return once, client.aclose


CLIENTS = {"rawproto+deadline": floor, "meshlib wire": ours, "aiohttp": aiohttp, "httpx": httpx}


async def measure(name: str, port: int, concurrency: int, seconds: float, post: bool) -> tuple[float, float]:
    """Requests per second, and CPU microseconds of this process per request."""
    once, close = await CLIENTS[name](port, post)
    count = 0
    end = 0.0

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await once()
            count += 1

    end = time.perf_counter() + seconds / 5
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    count = 0
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    end = start + seconds
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - start
    await close()
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return count / took, cpu / count * 1e6


def run(main: Any, loop: str) -> Any:
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--post", action="store_true", help="a 10 KB JSON POST instead of a small GET")
    parser.add_argument("--only", help="clients, separated by commas", default=",".join(CLIENTS))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    names = [n for n in options.only.split(",") if n not in ("aiohttp", "httpx") or importlib.util.find_spec(n)]
    child = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    pin(0)
    print(f"{'client':20} {'at once':>8} {'req/s':>8} {'CPU us':>8} {'CPU: floor/this (range)':>26}")
    try:
        for concurrency in CONCURRENCY:
            rounds: list[dict[str, tuple[float, float]]] = []
            for _ in range(options.rounds):
                one_round = {}
                for name in names:
                    one_round[name] = run(measure(name, port, concurrency, options.seconds, options.post), options.loop)
                rounds.append(one_round)
            for name in names:
                rate = statistics.median(r[name][0] for r in rounds)
                cpu = statistics.median(r[name][1] for r in rounds)
                ratios = sorted(r[names[0]][1] / r[name][1] for r in rounds)
                spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
                print(f"{name:20} {concurrency:8} {rate:8.0f} {cpu:8.1f} {spread:>26}", flush=True)
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
