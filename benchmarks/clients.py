"""What does a request cost, client by client? `MeshClient` with everything on, its peers with nothing on.

    python benchmarks/clients.py [--loop asyncio,uvloop] [--seconds 1] [--rounds 5] [--fast] [--json FILE]

A small GET and a POST of 10 KB of JSON, at concurrency 1, 32 and 128. The upstream has the other core to itself. With
one request at a time that measures mostly how long a sleeping core takes to wake, so this case is measured once more
with the upstream on the client's core. It is nginx with one worker if that is installed and we may start it, else the
server of `wire.py`. The last column says how busy it was: far from 100 %, or it is the upstream that was measured.

The JSON is one long text, which MeshClient copies where `json` looks at each character: about 8 µs of the POST. JSON of
many small values costs all Python clients the same, since all have `json` write it.

"rawproto+deadline" is the floor: about the least that a correct client in Python can do; it writes the JSON of each
POST, as the others must. On asyncio it reads up to 256 KiB at a time, for which the C library may map memory anew at
each read; "rawproto 64K" is spared that, as our own connections are (on uvloop there is no difference). "MeshClient"
has three endpoints (three ports of the one upstream), the default balancer, a circuit breaker, failure accrual, a retry
budget, a deadline per call and per try; "+metrics" a subscribed listener that counts.

Each measurement runs in a process of its own, rounds are interleaved, the table shows medians, and ratios within the
same round with their range: how many times the floor's (aiohttp's) requests per second, and the floor's CPU per request
over this one's. Trust the ratios, and CPU per request more than requests per second.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _harness as harness
from _upstream import free_ports, wait_for
from wire import ANSWER, floor, pin, run

Once = Callable[[], Awaitable[object]]
DATA = {"text": "x" * 10_000}
FLOOR, OURS, AIOHTTP = "rawproto+deadline", "MeshClient", "aiohttp"


def mesh(ports: list[int], hosts: list[str] | None = None) -> Any:
    """A mesh with all that a mesh file switches on by default, and a deadline."""
    from meshlib import CircuitBreaker, Cluster, Endpoint, Mesh, Service, Snapshot
    from meshlib.balancing import ClusterHealth, make_balancer
    from meshlib.http.engine.service_pipeline import service_pipeline
    from meshlib.policies.retry.budget import RetryBudget
    from meshlib.routing.split import Split
    from meshlib.routing.table import RouteTable
    from meshlib.routing.table import ServiceRoutes as Routed

    made = Mesh()
    endpoints = [Endpoint(host, port) for host, port in zip(hosts or ["127.0.0.1"] * len(ports), ports, strict=True)]
    cluster = Cluster(
        "bench",
        make_balancer("default", "bench", endpoints, health=ClusterHealth("bench")),
        [CircuitBreaker(name="bench")],
    )
    budget = RetryBudget(name="bench")
    pipeline = service_pipeline("bench", made.runtime, timeout=5.0, per_try_timeout=2.0, budget=budget)
    made.publish(
        lambda now: Snapshot(
            routes=RouteTable([Routed("bench", default=Split("bench"))]),
            services={"bench": Service("bench", pipeline)},
            clusters={"bench": cluster},
        )
    )
    return made


def meshed(*, fast: bool = True, metrics: bool = False, two: bool = False) -> Any:
    async def make_balancer(ports: list[int], post: bool) -> tuple[Once, Once]:
        from meshlib import MeshClient

        if two:
            from meshlib.httpx2 import MeshClient
        known = mesh(ports)
        counts: dict[type, int] = {}
        if metrics:
            known.subscribe(lambda event: counts.update({type(event): counts.get(type(event), 0) + 1}))
        client = await MeshClient(mesh=known, fast=fast).__aenter__()
        url = "http://bench/json"
        return (lambda: client.post(url, json=DATA)) if post else (lambda: client.get(url)), client.aclose

    return make_balancer


async def rawproto(ports: list[int], post: bool) -> tuple[Once, Once]:
    return await floor(ports[0], post, lambda: json.dumps(DATA).encode())


async def rawproto_64k(ports: list[int], post: bool) -> tuple[Once, Once]:
    return await floor(ports[0], post, lambda: json.dumps(DATA).encode(), 64 * 1024)


async def aiohttp(ports: list[int], post: bool) -> tuple[Once, Once]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5))
    url = f"http://127.0.0.1:{ports[0]}/json"

    async def once() -> object:
        async with session.post(url, json=DATA) if post else session.get(url) as response:
            return await response.read()

    return once, session.close


def httpx_like(name: str) -> Any:
    async def make_balancer(ports: list[int], post: bool) -> tuple[Once, Once]:
        lib = importlib.import_module("httpx" if name == "httpx-aiohttp" else name)
        unlimited = lib.Limits(max_connections=None, max_keepalive_connections=None)
        if name == "httpx-aiohttp":
            from httpx_aiohttp import AiohttpTransport

            client = lib.AsyncClient(transport=AiohttpTransport(limits=unlimited))
        else:
            client = lib.AsyncClient(limits=unlimited)
        url = f"http://127.0.0.1:{ports[0]}/json"
        return (lambda: client.post(url, json=DATA)) if post else (lambda: client.get(url)), client.aclose

    return make_balancer


async def niquests(ports: list[int], post: bool) -> tuple[Once, Once]:
    import niquests

    session = niquests.AsyncSession(pool_connections=1, pool_maxsize=256)
    url = f"http://127.0.0.1:{ports[0]}/json"
    return (lambda: session.post(url, json=DATA)) if post else (lambda: session.get(url)), session.close


async def pyreqwest(ports: list[int], post: bool) -> tuple[Once, Once]:
    from datetime import timedelta

    from pyreqwest.client import ClientBuilder

    client = await ClientBuilder().timeout(timedelta(seconds=5)).build().__aenter__()
    url = f"http://127.0.0.1:{ports[0]}/json"

    async def once() -> object:
        request = client.post(url).body_json(DATA) if post else client.get(url)
        response = await request.build().send()
        return await response.bytes()

    return once, client.close


CLIENTS: dict[str, Any] = {
    FLOOR: rawproto,
    "rawproto 64K": rawproto_64k,
    OURS: meshed(),
    "MeshClient +metrics": meshed(metrics=True),
    "MeshClient (httpx2)": meshed(two=True),
    "MeshClient fast=False": meshed(fast=False),
    "pyreqwest": pyreqwest,
    AIOHTTP: aiohttp,
    "httpx-aiohttp": httpx_like("httpx-aiohttp"),
    "niquests": niquests,
    "httpx2": httpx_like("httpx2"),
    "httpx": httpx_like("httpx"),
}
NEEDS = {"httpx-aiohttp": "httpx_aiohttp", "MeshClient (httpx2)": "httpx2"}


def installed(name: str) -> bool:
    module = NEEDS.get(name, name)
    return name.startswith(("rawproto", "MeshClient")) or importlib.util.find_spec(module) is not None


async def measure(name: str, ports: list[int], at_once: int, seconds: float, post: bool) -> dict[str, float]:
    once, close = await CLIENTS[name](ports, post)
    took: list[float] = []
    end = 0.0
    clock = time.perf_counter

    async def worker() -> None:
        start = clock()
        while start < end:
            await once()
            now = clock()
            took.append(now - start)
            start = now

    end = clock() + max(seconds / 4, 0.3)
    await asyncio.gather(*(worker() for _ in range(at_once)))
    took.clear()
    before, start = time.process_time(), clock()  # getrusage tells the same, but on some kernels only in ticks of 4 ms
    end = start + seconds
    await asyncio.gather(*(worker() for _ in range(at_once)))
    elapsed, cpu = clock() - start, time.process_time() - before
    closing = close()
    if closing is not None:
        await closing
    took.sort()
    return {
        "rate": len(took) / elapsed,
        "cpu": cpu / len(took) * 1e6,
        "p50": took[len(took) // 2] * 1e3,
        "p99": took[int(len(took) * 0.99)] * 1e3,
    }


class Upstream:
    """nginx with one worker on the other core, or else the little server of `wire.py`: three ports of one process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        nginx = shutil.which("nginx")
        self.kind = "nginx" if nginx is not None and hasattr(os, "getuid") and os.getuid() == 0 else "wire.py"
        if self.kind == "nginx":
            self.ports = free_ports(3)
            body = ANSWER.partition(b"\r\n\r\n")[2].decode()
            listens = "".join(f"listen 127.0.0.1:{port} backlog=1024;" for port in self.ports)
            config = (
                f"daemon off; worker_processes 1; pid {self._folder.name}/pid; error_log /dev/null;"
                "events { worker_connections 4096; } http { access_log off; keepalive_requests 1000000000;"
                f" client_body_temp_path {self._folder.name}/body; client_body_buffer_size 64k;"
                f" server {{ {listens} location / {{ default_type application/json; return 200 '{body}'; }} }} }}"
            )
            path = Path(self._folder.name) / "nginx.conf"
            path.write_text(config)
            self._child = subprocess.Popen([str(nginx), "-c", str(path)], preexec_fn=lambda: pin(1))
            wait_for(f"http://127.0.0.1:{self.ports[0]}/")
        else:
            script = str(Path(__file__).with_name("wire.py"))
            self._child = subprocess.Popen([sys.executable, script, "--serve"], stdout=subprocess.PIPE, text=True)
            assert self._child.stdout is not None
            self.ports = [int(self._child.stdout.readline())] * 3

    def _pids(self) -> list[int]:
        found = subprocess.run(["pgrep", "-P", str(self._child.pid)], capture_output=True, text=True).stdout.split()
        return [self._child.pid, *map(int, found)]

    def move(self, core: int) -> None:
        for pid in self._pids():
            harness.pin_other(pid, core)

    def cpu(self) -> float:
        """CPU seconds that it has used so far, its workers included."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._child.terminate()
        self._child.wait()
        self._folder.cleanup()


def once_in_child(options: argparse.Namespace, name: str, ports: list[int], at_once: int, loop: str, post: bool) -> Any:
    command = [sys.executable, __file__, "--one", name, "--ports", ",".join(map(str, ports)), "--loop", loop]
    command += ["--at-once", str(at_once), "--seconds", str(options.seconds), *(["--post"] if post else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * options.seconds)
    error = None
    if done.returncode:
        error = (done.stderr.strip().splitlines() or ["no word"])[-1][:120]
        print(f"{name}: {error}", file=sys.stderr)
    # Some crash when they end, and have told by then what was measured.
    return json.loads(done.stdout) if done.stdout else None, error


def cases(concurrency: str) -> list[tuple[int, bool]]:
    """How many at once, and whether the upstream has the client's core."""
    numbers = [int(number) for number in concurrency.split(",")]
    return [(number, shared) for number in numbers for shared in ((False, True) if number == 1 else (False,))]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def table(options: argparse.Namespace, upstream: Upstream, names: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for loop in options.loop.split(","):
        for post in (False, True)[: 1 if options.get else 2]:
            for at_once, shared in cases(options.concurrency):
                title = f"{loop}, {'10 KB POST' if post else 'small GET'}, {at_once} at once"
                title += ", one core" if shared else ""
                upstream.move(0 if shared else 1)
                print(f"\n{title}\n{'client':22} {'/floor':>18} {'/aiohttp':>18} {'floor CPU/':>18} {'req/s':>7} "
                      f"{'CPU us':>7} {'p50 ms':>7} {'p99 ms':>7} {'upstream busy':>13}")  # fmt: skip
                rounds: list[dict[str, dict[str, float]]] = []
                errors: dict[str, list[str]] = {}
                for _ in range(options.rounds):
                    one: dict[str, dict[str, float]] = {}
                    for name in names:
                        before, start = upstream.cpu(), time.perf_counter()
                        found, error = once_in_child(options, name, upstream.ports, at_once, loop, post)
                        if error is not None:
                            errors.setdefault(name, []).append(error)
                        if found is not None:
                            wall = options.seconds + max(options.seconds / 4, 0.3)
                            found["busy"] = min(1.0, (upstream.cpu() - before) / min(wall, time.perf_counter() - start))
                            one[name] = found
                    rounds.append(one)
                for name in names:
                    got = [one for one in rounds if name in one]
                    erred = errors.get(name, [])
                    about = {"error": f"{len(erred)} of {options.rounds} runs: {erred[0]}"} if erred else {}
                    if not got:
                        rows.append({"case": title, "client": name, **about})
                        continue
                    ratios = {
                        other: [one[name]["rate"] / one[other]["rate"] for one in got if other in one]
                        for other in (FLOOR, AIOHTTP)
                    }
                    cost = [one[FLOOR]["cpu"] / one[name]["cpu"] for one in got if FLOOR in one]
                    median = {key: statistics.median(one[name][key] for one in got) for key in got[0][name]}
                    to_floor, to_aiohttp = ratios[FLOOR], ratios[AIOHTTP]
                    print(f"{name:22} {spread(to_floor or [0]):>18} {spread(to_aiohttp or [0]):>18} "
                          f"{spread(cost or [0]):>18} {median['rate']:7.0f} {median['cpu']:7.1f} {median['p50']:7.2f} "
                          f"{median['p99']:7.2f} {median['busy']:13.0%}", flush=True)  # fmt: skip
                    row = {"case": title, "client": name, "to_floor": to_floor, "to_aiohttp": to_aiohttp}
                    rows.append({**row, "floor_cpu_to_this": cost, **median, **about})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", default="asyncio,uvloop")
    parser.add_argument("--concurrency", default="1,32,128")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="clients, separated by commas", default=",".join(CLIENTS))
    parser.add_argument("--fast", action="store_true", help="a short look: 3 rounds of 0.5 s")
    parser.add_argument("--get", action="store_true", help="only the small GET")
    parser.add_argument("--json", help="where to write the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    parser.add_argument("--at-once", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--post", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fast:
        options.seconds, options.rounds = 0.5, 3
    if options.one:
        pin(0)
        ports = [int(port) for port in options.ports.split(",")]
        found = run(measure(options.one, ports, options.at_once, options.seconds, options.post), options.loop)
        print(json.dumps(found), flush=True)
        return
    names = [name for name in options.only.split(",") if installed(name)]
    upstream = Upstream()
    print(f"upstream: {upstream.kind}; CPython {platform.python_version()}; load {os.getloadavg()[0]:.1f}")
    try:
        rows = table(options, upstream, names)
    finally:
        upstream.close()
    if options.json:
        known = [name for name in ("httpx", "httpx2", "aiohttp", "niquests", "pyreqwest", "httpx-aiohttp", "uvloop")
                 if importlib.util.find_spec(name.replace("-", "_"))]  # fmt: skip
        about = {"python": platform.python_version(), "upstream": upstream.kind, "seconds": options.seconds,
                 "rounds": options.rounds, "versions": {name: version(name) for name in known}}  # fmt: skip
        options.json = path = Path(options.json)
        if path.exists():  # what was measured of other cases stays
            new = {(row["case"], row["client"]) for row in rows}
            rows = [
                row for row in json.loads(path.read_text())["rows"] if (row["case"], row["client"]) not in new
            ] + rows
        harness.finish(options, {"about": about, "rows": rows})


if __name__ == "__main__":
    main()
