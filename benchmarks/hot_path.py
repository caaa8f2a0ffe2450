"""What a policy adds to a call: ours beside the peers that are installed, and beside a closure written by hand.

    python benchmarks/hot_path.py [--fast] [--json FILE] [--only breaker] [--rounds 15]

Every cell is measured in each round, one after another, so that whatever else the machine does falls on all alike. The
cost is the time of a guarded call less that of the bare function in the same round; shown is the median over the
rounds, with the smallest and the largest. What is ours stands first, `closure` is the floor: the same idea written into
one function by hand. To add a policy, add an entry to SECTIONS in guards.py.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _gates import GATES
from guards import SECTIONS as GUARDS
from guards import Failed, Row

SECTIONS = {**GUARDS, **GATES}

# --- measuring ----------------------------------------------------------------------------------------------------


def answer(x: Any) -> Any:
    return x


async def answer_async(x: Any) -> Any:
    return x


def fails(x: Any) -> Any:
    raise Failed


async def fails_async(x: Any) -> Any:
    raise Failed


def sync_batch(fn: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        fn(1)
    return (time.perf_counter() - start) / calls


def refused_batch(fn: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        try:
            fn(1)
        except Exception:
            pass
    return (time.perf_counter() - start) / calls


async def async_batch(fn: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        await fn(1)
    return (time.perf_counter() - start) / calls


async def refused_async_batch(fn: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        try:
            await fn(1)
        except Exception:
            pass
    return (time.perf_counter() - start) / calls


def open_it(guarded: Any, run: Callable[[Any], Any]) -> Any:
    """Call until it is refused: from then on it raises something else than the function does."""
    for _ in range(200):
        try:
            run(guarded)
        except Failed:
            continue
        except Exception:
            return guarded
    raise RuntimeError("200 failures did not open it")


class Cell:
    """One row in one way of calling: how long a call took, less the bare one, round by round."""

    def __init__(self, section: str, row: Row, way: str, batch: Callable[[int], float], calls: int) -> None:
        self.section, self.row, self.way, self.batch, self.calls = section, row, way, batch, calls
        self.added: list[float] = []
        self.error: str | None = None


def cells(section: str, row: Row, loop: asyncio.AbstractEventLoop) -> list[Cell]:
    async def fail_once(guarded: Any) -> None:
        await guarded(1)

    def in_loop(batch: Any, fn: Any) -> Callable[[int], float]:
        return lambda calls: loop.run_until_complete(batch(fn, calls))

    found: list[Cell] = []

    def cell(way: str, build: Callable[[], Callable[[int], float]]) -> None:
        made = Cell(section, row, way, lambda calls: 0.0, 50)
        try:
            made.batch = build()
            took = made.batch(20)
            made.calls = max(20, min(20_000, int(0.002 / max(took, 1e-8))))
        except Exception as error:
            made.error = f"{type(error).__name__}: {error}"[:70]
        found.append(made)

    make_async = row.make_async or row.make
    if row.sync:
        cell("sync", lambda: functools.partial(sync_batch, row.make()(answer)))
    if row.is_async:
        cell("async", lambda: in_loop(async_batch, make_async()(answer_async)))
    if section == "breaker":
        if row.sync:
            cell("open sync", lambda: functools.partial(refused_batch, open_it(row.make()(fails), lambda fn: fn(1))))
        if row.is_async:
            cell(
                "open async",
                lambda: in_loop(
                    refused_async_batch,
                    open_it(make_async()(fails_async), lambda fn: loop.run_until_complete(fail_once(fn))),
                ),
            )
        if row.half_open is not None:
            guarded = row.half_open()(answer)
            cell("half-open sync", lambda: functools.partial(refused_batch, guarded))
    return found


def threads(fn: Any, number: int, calls: int) -> float:
    """Calls per second of all threads together."""
    start = threading.Barrier(number + 1)

    def work() -> None:
        start.wait()
        for _ in range(calls):
            fn(1)

    workers = [threading.Thread(target=work) for _ in range(number)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    return number * calls / (time.perf_counter() - begun)


def measure(sections: list[str], rounds: int, fast: bool) -> dict[str, Any]:
    loop = asyncio.new_event_loop()
    rows = [(section, row) for section in sections for row in SECTIONS[section]]
    todo = [cell for section, row in rows for cell in cells(section, row, loop)]
    bare: dict[str, list[float]] = {"sync": [], "async": []}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            here = {
                "sync": min(sync_batch(answer, 5000) for _ in range(3)),
                "async": min(loop.run_until_complete(async_batch(answer_async, 5000)) for _ in range(3)),
            }
            for way, took in here.items():
                bare[way].append(took)
            for cell in todo:
                if cell.error is None:
                    took = min(cell.batch(cell.calls) for _ in range(1 if fast else 3))
                    cell.added.append(took - here["async" if "async" in cell.way else "sync"])
            gc.collect()
        speed: dict[str, dict[str, Any]] = {}
        for section, row in rows:
            if row.sync:
                for number in (8, 16):
                    speed.setdefault(f"{section}/{row.name}", {})[f"{number} threads"] = throughput(row, number, fast)
    finally:
        gc.enable()
        loop.close()
    return {"bare": bare, "cells": todo, "threads": speed}


def throughput(row: Row, number: int, fast: bool) -> float | str:
    try:
        fn = row.make()(answer)
        once = max(sync_batch(fn, 200), 1e-8)
        calls = max(50, int((0.03 if fast else 0.1) / once / number))
        return median(threads(fn, number, calls) for _ in range(3))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:70]


# --- telling ------------------------------------------------------------------------------------------------------


def report(found: dict[str, Any]) -> dict[str, Any]:
    bare = {way: median(values) * 1e9 for way, values in found["bare"].items()}
    table: list[dict[str, Any]] = []
    for cell in found["cells"]:
        entry: dict[str, Any] = {"section": cell.section, "row": cell.row.name, "way": cell.way}
        if cell.row.peer:
            entry["version"] = version(cell.row.peer)
        if cell.error is not None:
            entry["error"] = cell.error
        else:
            added = [value * 1e9 for value in cell.added]
            base = bare["async" if "async" in cell.way else "sync"]
            entry |= {
                "added_ns": round(median(added)),
                "from_ns": round(min(added)),
                "to_ns": round(max(added)),
                "ratio_to_bare": round((base + median(added)) / base, 2),
            }
        table.append(entry)
    return {
        "machine": {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "meshlib": version("meshlib-client"),
        },
        "bare_ns": {way: round(value, 1) for way, value in bare.items()},
        "table": table,
        "calls_per_second": found["threads"],
    }


def version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def show(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"bare call: {result['bare_ns']['sync']} ns sync, {result['bare_ns']['async']} ns awaited")
    ours: dict[tuple[str, str], float] = {}
    last = None
    for entry in result["table"]:
        key = (entry["section"], entry["way"])
        if entry["section"] != last:
            last = entry["section"]
            print(f"\n{last:<32}{'way':<16}{'added ns':>9}  {'range':<17}{'÷ bare':>7}{'÷ ours':>8}")
        if "added_ns" not in entry:
            print(f"  {entry['row']:<29} {entry['way']:<16}  {entry['error']}")
            continue
        first = ours.setdefault(key, entry["added_ns"])
        spread = f"{entry['from_ns']}–{entry['to_ns']}"
        times = entry["added_ns"] / first if first > 0 else float("nan")
        name = f"{entry['row']} {entry.get('version', '')}"
        figures = f"{entry['added_ns']:>9}  {spread:<17}{entry['ratio_to_bare']:>7}{times:>8.1f}"
        print(f"  {name:<29} {entry['way']:<16}{figures}")
    print(f"\n{'million calls a second':<45}{'8 threads':>12}{'16 threads':>12}")
    for name, speeds in result["calls_per_second"].items():
        cells_ = [f"{s / 1e6:.2f}" if isinstance(s, float) else "fails" for s in speeds.values()]
        print(f"  {name:<43}{cells_[0]:>12}{cells_[1]:>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a few rounds of small batches")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", choices=sorted(SECTIONS), action="append", help="this section (may be repeated)")
    parser.add_argument("--rounds", type=int, default=None, help="default 15, with --fast 3")
    options = parser.parse_args()
    found = measure(options.only or list(SECTIONS), options.rounds or (3 if options.fast else 15), options.fast)
    result = report(found)
    show(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
