"""One client process of sidecar.py: it makes its client, warms up, sends for some seconds, and prints what it saw."""

from __future__ import annotations

import time

BEGUN = time.perf_counter()  # imports of the client's library count as its start-up

import asyncio  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Awaitable, Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

Once = Callable[[], Awaitable[bool]]
Close = Callable[[], Awaitable[object]]

MESH = """
services:
  users: {timeout: 5s, per_try_timeout: 1s, retry: {attempts: 3}, budget: {ratio: 20%}}
clusters:
  users: {endpoints: ENDPOINTS, bulkhead: {max_concurrent: 1024}}
"""


async def meshed(ports: list[int]) -> tuple[Once, Close]:
    from meshlib import Mesh, MeshClient

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mesh.yaml")
        file.write_text(MESH.replace("ENDPOINTS", json.dumps([f"127.0.0.1:{port}" for port in ports])))
        mesh = Mesh.from_file(file, watch=False)
    client = MeshClient(mesh=mesh)

    async def once() -> bool:
        return (await client.get("http://users/json")).status_code == 200

    return once, client.aclose


async def httpx(ports: list[int]) -> tuple[Once, Close]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.AsyncClient(limits=limits, timeout=5.0)
    urls = itertools.cycle([f"http://127.0.0.1:{port}/json" for port in ports])

    async def once() -> bool:
        return (await client.get(next(urls))).status_code == 200

    return once, client.aclose


async def aiohttp(ports: list[int]) -> tuple[Once, Close]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5))
    urls = itertools.cycle([f"http://127.0.0.1:{port}/json" for port in ports])

    async def once() -> bool:
        async with session.get(next(urls)) as response:
            await response.read()
            return bool(response.status == 200)

    return once, session.close


async def floor(ports: list[int]) -> tuple[Once, Close]:
    import wire

    pairs = [await wire.floor(port, False) for port in ports]
    turn = itertools.cycle([once for once, _ in pairs])

    async def once() -> bool:
        status, _, _ = await next(turn)()
        return bool(status == 200)

    async def close() -> None:
        for _, close_one in pairs:
            await close_one()

    return once, close


KINDS = {"meshed": meshed, "httpx": httpx, "aiohttp": aiohttp, "floor": floor}


async def run(task: dict[str, Any]) -> dict[str, Any]:
    once, close = await KINDS[task["kind"]](task["ports"])
    start_s = time.perf_counter() - BEGUN

    import _harness as harness

    times: list[float] = []
    failed = 0
    end = 0.0

    async def worker() -> None:
        nonlocal failed
        while (begin := time.perf_counter()) < end:
            try:
                good = await once()
            except Exception:
                good = False
            times.append(time.perf_counter() - begin)
            failed += not good

    async def phase(seconds: float) -> float:
        nonlocal end, failed
        times.clear()
        failed = 0
        begin = time.perf_counter()
        end = begin + seconds
        await asyncio.gather(*(worker() for _ in range(task["at_once"])))
        return time.perf_counter() - begin

    def used() -> dict[str, float]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        watched = {name: sum(map(harness.cpu_seconds, pids)) for name, pids in task["watch"].items()}
        return {"client": own.ru_utime + own.ru_stime, **watched}

    await phase(min(1.0, task["seconds"]))  # warm up: connections, caches, and what the policies have to learn
    before = used()
    took = await phase(task["seconds"])
    cpu = {name: value - before[name] for name, value in used().items()}
    ordered, count = sorted(times), max(1, len(times))
    memory = harness.resident_mb()
    await close()
    return {
        "per_second": (len(times) - failed) / took,
        "requests": len(times),
        "failed": failed / count,
        "p50_ms": harness.percentile(ordered, 0.5) * 1e3,
        "p99_ms": harness.percentile(ordered, 0.99) * 1e3,
        "p999_ms": harness.percentile(ordered, 0.999) * 1e3,
        "cpu_10k": (cpu["client"] + cpu.get("proxy", 0.0)) / count * 1e4,
        "memory_mb": memory,
        "start_s": start_s,
        "upstream": cpu["upstream"] / took,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
