"""The storm of storm.py on loopback: three servers in a child process, `MeshClient`, and a mesh.yaml each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from math import inf
from pathlib import Path
from random import Random
from typing import Any

SERVERS, WORKERS, OFFERED, WORK, SLOW = 3, 4, 90.0, 0.1, 0.4
TRIGGER, HEALED, END = 5.0, 11.0, 26.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

FIXED = """
services:
  shop: {retry: {attempts: 4}, budget: {ratio: 1000}, per_try_timeout: 1s}
clusters:
  shop: {endpoints: ENDPOINTS, balancer: random, breaker: off, accrual: off}
"""
BUDGET = """
services:
  shop: {retry: {attempts: 4}, budget: {ratio: 20%, min_per_second: 0}, per_try_timeout: 1s}
clusters:
  shop: {endpoints: ENDPOINTS, balancer: random, breaker: off, accrual: off}
"""
THROTTLE = BUDGET.replace("breaker: off", "breaker: off, throttle: {window: 10s}")
HEDGE = BUDGET.replace("per_try_timeout", "hedge: {max_extra_load: 5%}, per_try_timeout")
OURS = """
services:
  shop: {retry: {attempts: 4}, per_try_timeout: 1s}
clusters:
  shop: {endpoints: ENDPOINTS}
"""
WAYS = {
    "3 fixed retries": FIXED,
    "retry budget": BUDGET,
    "budget, throttle over 10 s": THROTTLE,
    "budget, hedging": HEDGE,
    "a mesh.yaml with its defaults": OURS,
}


def serve() -> None:
    """Workers behind an endless queue. A line on stdin is the new speed. What was given up is done all the same."""
    random = Random(1)
    speed = 1.0

    class Shop:
        def __init__(self) -> None:
            self.free = WORKERS
            self.queue: deque[Any] = deque()

        def work(self) -> None:
            while self.free and self.queue:
                self.free -= 1
                loop.call_later(random.expovariate(1 / WORK) / speed, self.done, self.queue.popleft())

        def done(self, transport: Any) -> None:
            self.free += 1
            if not transport.is_closing():
                transport.write(OK)
            self.work()

    class Connection(asyncio.Protocol):
        def __init__(self, shop: Shop) -> None:
            self.shop = shop
            self.read = b""

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.read += data
            while b"\r\n\r\n" in self.read:
                _, self.read = self.read.split(b"\r\n\r\n", 1)
                self.shop.queue.append(self.transport)
            self.shop.work()

    def listen() -> None:
        nonlocal speed
        line = sys.stdin.readline()
        if line:
            speed = float(line)
        else:
            loop.stop()

    loop = asyncio.new_event_loop()
    for _ in range(SERVERS):
        shop = Shop()
        server = loop.run_until_complete(
            loop.create_server(lambda shop=shop: Connection(shop), "127.0.0.1", 0)  # type: ignore[misc]
        )
        print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), listen)
    loop.run_forever()


async def storm(text: str) -> Any:
    from storm import Tally

    from meshlib import Mesh, MeshClient

    child = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin is not None and child.stdout is not None
    ports = [int(child.stdout.readline()) for _ in range(SERVERS)]
    tally, random, running = Tally(), Random(2), set()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mesh.yaml")
        file.write_text(text.replace("ENDPOINTS", str([f"127.0.0.1:{port}" for port in ports]).replace("'", '"')))
        with Mesh.from_file(file, watch=False) as mesh:
            mesh.subscribe(lambda event: count(event))
            begin = time.monotonic()

            def count(event: Any) -> None:
                if type(event).__name__ == "AttemptFinished":
                    tally.sent[int(time.monotonic() - begin)] += 1

            async def one(client: MeshClient, second: int) -> None:
                tally.calls[second] += 1
                try:
                    response = await client.get("http://shop/")
                except Exception:
                    return
                tally.good[second] += response.status_code == 200

            async with MeshClient(mesh=mesh, timeout=None) as client:
                changes = [(TRIGGER, f"{SLOW}\n"), (HEALED, "1\n"), (inf, "")]
                while (now := time.monotonic() - begin) < END:
                    if now >= changes[0][0]:
                        child.stdin.write(changes.pop(0)[1])
                    task = asyncio.ensure_future(one(client, int(now)))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    await asyncio.sleep(random.expovariate(OFFERED))
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
    child.stdin.close()
    child.wait(5)
    return tally


def real() -> Iterator[tuple[str, dict[str, Any]]]:
    from storm import summary

    for name, text in WAYS.items():
        yield name, summary([asyncio.run(storm(text))], (TRIGGER, HEALED, END))


if __name__ == "__main__":
    serve()
