"""How does one client hold a crowd? Fairness with 1,000 tasks, memory per connection, and picks among 1,000 endpoints.

    python benchmarks/crowd.py [--fast] [--json FILE] [--loop uvloop] [--seconds 3]

All through `MeshClient` with the policies of `clients.py`. The upstream, a process on the other core, answers each
request after the same time. Fairness: 1,000 tasks ask it without a pause; p99 ÷ p50 says whether anybody starves (goal:
under 5). Memory: what 1,000 connections at rest weigh, in KB of resident memory each (goal: under 20). Picks: CPU per
request with 1,000 endpoints over that with 10, each an address of its own with its own connections (goal: no more).
"""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import random
from typing import Any

import _harness as harness
from clients import mesh
from wire import ANSWER, run

TASKS = 1_000
SERVICE_TIME = 0.1  # seconds; long enough for an upstream in Python to keep it


def serve(delay: float) -> None:
    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if delay:
                loop.call_later(delay, self.transport.write, ANSWER)
            else:
                self.transport.write(ANSWER)

    harness.pin(1)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Server, "0.0.0.0", 0, backlog=4096))
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.run_forever()


class Upstream:
    """A server that answers `delay` seconds after each request, at every address of this machine."""

    def __init__(self, delay: float) -> None:
        command = [sys.executable, __file__, "--serve", str(delay)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())

    def __enter__(self) -> int:
        return self.port

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        self._child.wait()


@asynccontextmanager
async def client(port: int, endpoints: int = 1) -> AsyncIterator[Any]:
    from meshlib import MeshClient

    hosts = [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(endpoints)]
    async with MeshClient(mesh=mesh([port] * endpoints, hosts), timeout=30.0) as made:
        yield made


async def starving(port: int, seconds: float) -> dict[str, float]:
    async with client(port) as made:
        took: list[float] = []
        end = 0.0
        clock = time.perf_counter

        async def task() -> None:
            start = clock()
            while start < end:
                await made.get("http://bench/json")
                now = clock()
                took.append(now - start)
                start = now

        for last in (1.0, seconds):  # once to warm up
            took.clear()
            end = clock() + last
            await asyncio.gather(*(task() for _ in range(TASKS)))
    took.sort()
    p50, p99 = harness.percentile(took, 0.5), harness.percentile(took, 0.99)
    return {
        "requests": len(took),
        "p50_ms": p50 * 1e3,
        "p99_ms": p99 * 1e3,
        "max_ms": took[-1] * 1e3,
        "ratio": p99 / p50,
    }


async def idle(port: int) -> dict[str, float]:
    async with client(port) as made:
        await made.get("http://bench/json")
        gc.collect()
        before = harness.resident_mb()
        await asyncio.gather(*(made.get("http://bench/json") for _ in range(TASKS)))
        gc.collect()
        pools = made.__dict__["_meshlib_door"].lane.here()._pools.values()
        number = sum(pool.idle for pool in pools)
        return {"connections": number, "kb_each": (harness.resident_mb() - before) * 1e3 / number}


async def picks(port: int, rounds: int) -> dict[str, Any]:
    """CPU microseconds per request, in turn with few endpoints and with many."""
    found: dict[int, list[float]] = {10: [], TASKS: []}
    alone: dict[int, list[float]] = {10: [], TASKS: []}
    async with client(port, 10) as few, client(port, TASKS) as many:
        ways = {10: few, TASKS: many}
        for way in ways.values():
            await _ask(way, 4 * TASKS)  # until every endpoint has a connection
        opened = sum(map(_opened, ways.values()))
        for _ in range(rounds):
            for number, way in ways.items():
                found[number].append(await _ask(way, TASKS))
                alone[number].append(_pick(way))
        opened = sum(map(_opened, ways.values())) - opened
    return {
        "pick_few_ns": harness.figure(alone[10]),
        "pick_many_ns": harness.figure(alone[TASKS]),
        "pick_many_to_few": harness.ratio(alone[TASKS], alone[10]),
        "opened": opened,
        "few_us": harness.figure(found[10]),
        "many_us": harness.figure(found[TASKS]),
        "many_to_few": harness.ratio(found[TASKS], found[10]),
    }


def _opened(made: Any) -> int:
    return sum(pool.opened for pool in made.__dict__["_meshlib_door"].lane.here()._pools.values())


def _pick(made: Any) -> float:
    """Nanoseconds to choose among the client's endpoints, as they are after the traffic."""
    pick, now = made.mesh.current.clusters["bench"].balancer.pick, time.monotonic()
    before = time.process_time_ns()
    for _ in range(2_000):
        pick(random, now)
    return (time.process_time_ns() - before) / 2_000


async def _ask(made: Any, number: int) -> float:
    async def task() -> None:
        for _ in range(number // 8):
            await made.get("http://bench/json")

    before = time.process_time()
    await asyncio.gather(*(task() for _ in range(8)))
    return (time.process_time() - before) / number * 1e6


def main() -> None:
    opts = harness.options(
        __doc__,
        lambda p: p.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio"),
        lambda p: p.add_argument("--seconds", type=float, default=None, help="default 3, with --fast 0.5"),
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    harness.pin(0)
    with Upstream(SERVICE_TIME) as port:
        memory = run(idle(port), opts.loop)  # first, while nothing that was freed can be used again
        fair = run(starving(port, opts.seconds or (0.5 if opts.fast else 3.0)), opts.loop)
    with Upstream(0.0) as port:
        pick = run(picks(port, 3 if opts.fast else 15), opts.loop)
    print(f"{TASKS} tasks, an answer after {SERVICE_TIME * 1e3:.0f} ms: p50 {fair['p50_ms']:.0f} ms, p99 "
          f"{fair['p99_ms']:.0f} ms, longest {fair['max_ms']:.0f} ms; p99 ÷ p50 {fair['ratio']:.2f}")  # fmt: skip
    print(f"{memory['connections']:.0f} connections at rest: {memory['kb_each']:.1f} KB each")
    few, many, ratio = pick["few_us"]["median"], pick["many_us"]["median"], pick["many_to_few"]
    print(f"CPU per request: {few:.1f} µs with 10 endpoints, {many:.1f} µs with {TASKS}; "
          f"{ratio['median']:.2f} ({ratio['least']:.2f}–{ratio['most']:.2f}) ×")  # fmt: skip
    harness.finish(opts, {"loop": opts.loop, "starving": fair, "idle": memory, "picks": pick})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(float(sys.argv[2]))
    else:
        main()
