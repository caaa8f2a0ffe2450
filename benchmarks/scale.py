"""What does size cost? From 1 to 1,000 services with 10 to 10,000 endpoints each: start-up, memory, update, pick.

    python benchmarks/scale.py [--fast] [--json FILE] [--rounds 3] [--large]

Each world is loaded from a mesh.yaml in a fresh process. Then one endpoint of the first cluster changes: by a call of
`balancer.update`, as discovery does it, and by an edit of its file, which a thread of its own reads; for both, how long
an event loop stood still. Pick: choose an endpoint, as in balancers.py; use: that, with enter and leave. Telemetry: a
whole `client.get` over a transport that answers at once, with and without somebody who listens. Sizes are bounded at
10,000 endpoints in all (--large: 100,000), because reading YAML is what takes the time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import _harness as harness

SIZES = [(1, 10), (1, 100), (1, 1_000), (1, 10_000), (10, 10), (10, 1_000), (100, 10), (100, 100), (1_000, 10)]
LARGE = [(10, 10_000), (100, 1_000), (1_000, 100)]
SHORT = [(1, 10), (10, 10), (1, 1_000)]


def addresses(service: int, number: int) -> list[str]:
    return [f"10.{service // 250}.{service % 250 + n // 50_000}.{n % 250}:{8000 + n // 250}" for n in range(number)]


def write(folder: Path, services: int, endpoints: int) -> Path:
    """The mesh.yaml, with the first cluster's endpoints in a file of their own."""
    (folder / "endpoints.yaml").write_text(listing(addresses(0, endpoints)))
    lines = ["services:", *(f"  s{n}: {{timeout: 2s}}" for n in range(services)), "clusters:"]
    lines.append("  s0: {endpoints_from: {file: endpoints.yaml}}")
    for n in range(1, services):
        lines += [f"  s{n}:", "    endpoints:", *(f"      - {one}" for one in addresses(n, endpoints))]
    file = folder / "mesh.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def listing(members: list[str]) -> str:
    return json.dumps([{"targets": members}])


def per_call(work: Callable[[], object], seconds: float) -> float:
    """Nanoseconds of CPU; the median over batches."""
    work()
    figures, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not figures:
        begin = time.process_time_ns()
        for _ in range(500):
            work()
        figures.append((time.process_time_ns() - begin) / 500)
    return median(figures)


def pick_ns(mesh: Any, seconds: float) -> tuple[float, float]:
    """Of a pick alone, as in balancers.py, and of a pick with `enter` and `leave`. Each endpoint has answered before:
    among newcomers, who are let in a few at a time, a pick has more to ask."""
    from meshlib.call import SUCCESS

    balancer, random, now = mesh.current.clusters["s0"].balancer, Random(1).random, time.monotonic
    start = now() - 60.0
    for step, endpoint in enumerate(balancer.endpoints):
        endpoint.leave(endpoint.enter(start + step * 1e-4), SUCCESS, start + 1.0 + step * 1e-4, 0.01)

    def alone() -> None:
        balancer.pick(random, now())

    def used() -> None:
        start = now()
        endpoint = balancer.pick(random, start)
        endpoint.leave(endpoint.enter(start), SUCCESS, now(), 0.01)

    return per_call(alone, seconds), per_call(used, seconds)


def update_ms(mesh: Any) -> float:
    """One endpoint replaced, everything else as it was; all of it blocks."""
    from meshlib.balancing import Endpoint, carry_over

    balancer = mesh.current.clusters["s0"].balancer
    times = []
    for turn in range(5):
        members = [Endpoint(one.host, one.port, health=one.health) for one in balancer.endpoints[:-1]]
        members.append(Endpoint("10.99.99.99", 9000 + turn))
        begin = time.perf_counter()
        balancer.update(carry_over(balancer.endpoints, members))
        times.append(time.perf_counter() - begin)
    return median(times) * 1e3


async def edit_ms(mesh: Any, file: Path, endpoints: int) -> tuple[float, float, float]:
    """Milliseconds from an edit to its effect; the longest standstill of the loop before it, and meanwhile."""
    longest = 0.0

    async def stand(until: Callable[[], bool], limit: float) -> float:
        nonlocal longest
        longest, end = 0.0, time.perf_counter() + limit
        while not until() and time.perf_counter() < end:
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - begin - 0.001)
        return longest * 1e3

    quiet = await stand(lambda: False, 0.3)
    version = mesh.version
    members = [*addresses(0, endpoints)[:-1], "10.99.99.98:9999"]
    new = file.with_name("endpoints.new")
    new.write_text(listing(members))
    begin = time.perf_counter()
    new.replace(file.with_name("endpoints.yaml"))
    standstill = await stand(lambda: mesh.version != version, 60.0)
    return (time.perf_counter() - begin) * 1e3, quiet, standstill


async def call_us(mesh: Any, batches: int) -> dict[str, float]:
    """A whole `client.get` over a transport that answers at once; nobody listens, or somebody counts."""
    import httpx

    from meshlib import MeshClient

    class AtOnce(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=b"{}")

    heard = 0

    def listener(event: object) -> None:
        nonlocal heard
        heard += 1

    found: dict[str, list[float]] = {"silent_us": [], "heard_us": []}
    async with MeshClient(mesh=mesh, transport=AtOnce()) as client:
        for _ in range(batches):
            for name in found:
                end = mesh.subscribe(listener) if name == "heard_us" else None
                begin = time.process_time()
                for _ in range(50):
                    await client.get("http://s0/")
                found[name].append((time.process_time() - begin) / 50 * 1e6)
                if end is not None:
                    end()
    differences = [heard - silent for silent, heard in zip(*found.values(), strict=True)]
    return {**{name: median(values) for name, values in found.items()}, "telemetry_us": median(differences)}


def measure(services: int, endpoints: int, short: bool) -> dict[str, float]:
    """In a process of its own."""
    from meshlib import Mesh, MeshClient  # noqa: F401 (loaded before memory is looked at)
    from meshlib.config import load  # noqa: F401

    with tempfile.TemporaryDirectory() as name:
        file = write(Path(name), services, endpoints)
        gc.collect()
        memory, begin = harness.resident_mb(), time.perf_counter()
        mesh = Mesh.from_file(file, watch=True)
        load_s = time.perf_counter() - begin
        gc.collect()
        memory = harness.resident_mb() - memory
        with mesh:
            pick, used = pick_ns(mesh, 0.1 if short else 0.3)
            calls = asyncio.run(call_us(mesh, 5 if short else 15))
            effect, quiet, standstill = asyncio.run(edit_ms(mesh, file, endpoints))
            update = update_ms(mesh)
    return {
        "load_s": load_s,
        "memory_mb": memory,
        "kb_per_endpoint": memory * 1e3 / (services * endpoints),
        "pick_ns": pick,
        "use_ns": used,
        **calls,
        "update_ms": update,
        "edit_effect_ms": effect,
        "quiet_standstill_ms": quiet,
        "edit_standstill_ms": standstill,
    }


def child(services: int, endpoints: int, short: bool) -> dict[str, float]:
    task = json.dumps([services, endpoints, short])
    done = subprocess.run([sys.executable, __file__, "--one", task], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    opts = harness.options(
        __doc__,
        lambda p: p.add_argument("--rounds", type=int, default=None, help="default 3, with --fast 1"),
        lambda p: p.add_argument("--large", action="store_true", help="up to 100,000 endpoints in all: minutes"),
        lambda p: p.add_argument("--one", help="(for its own use) measure one world and print it"),
    )
    if opts.one:
        print(json.dumps(measure(*json.loads(opts.one))))
        return
    sizes = SHORT if opts.fast else SIZES + (LARGE if opts.large else [])
    ways = {size: lambda size=size: child(*size, opts.fast) for size in sizes}  # type: ignore[misc]
    found = harness.rounds(ways, opts.rounds or (1 if opts.fast else 3))
    heads = (
        "load s",
        "MB",
        "kB/ep",
        "pick ns",
        "use ns",
        "get us",
        "listener us",
        "update ms",
        "edit ms",
        "stood still ms",
    )
    print(f"{'services × endpoints':<22}" + "".join(f"{head:>16}" for head in heads))
    rows = []
    for (services, endpoints), runs in found.items():
        row = {key: harness.figure(run[key] for run in runs) for key in runs[0]}
        rows.append({"services": services, "endpoints": endpoints, **row})
        shown = ("load_s", "memory_mb", "kb_per_endpoint", "pick_ns", "use_ns", "silent_us", "telemetry_us",
                 "update_ms", "edit_effect_ms", "edit_standstill_ms")  # fmt: skip
        print(f"{services:>8,} × {endpoints:<11,}" + "".join(f"{row[key]['median']:>16,.4g}" for key in shown))
    harness.finish(opts, {"rows": rows, "versions": harness.versions("meshlib-client")})


if __name__ == "__main__":
    main()
