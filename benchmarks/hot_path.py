"""What a policy adds to a call: ours beside the peers that are installed, and beside a closure written by hand.

    python benchmarks/hot_path.py [--fast] [--json FILE] [--only breaker] [--rounds 15]

For each way to guard a function, plain and async: a call that succeeds, one that fails, one that is refused, and for
breakers one that is refused because a probe is out. Every cell of a section is measured in each round, one after
another, so that whatever else the machine does falls on all alike. The cost is the CPU time of a guarded call less that
of the bare one (for failures: of a bare one that fails) in the same round; shown is the median over the rounds, with
the smallest and the largest. What is ours stands first; `closure` is the floor: the same idea written into one function
by hand. A peer that errs, or guards nothing, says so. The rows are in `_rows_*.py`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import _harness as harness
import _rows_breaker
import _rows_calls
import _rows_gates
import _rows_shared
from _ways import (
    Admits,
    Batch,
    Ways,
    answer,
    answer_async,
    async_batch,
    erring_async_batch,
    erring_batch,
    fails,
    fails_async,
    patience,
    sync_batch,
)  # fmt: skip
from guards import Row

SECTIONS = {**_rows_breaker.SECTIONS, **_rows_calls.SECTIONS, **_rows_gates.SECTIONS, **_rows_shared.SECTIONS}
THREADED = ("breaker", "retry", "bulkhead", "rate limit", "pipeline")

# --- measuring ------------------------------------------------------------------------------------------------------


class Cell:
    """One row in one way of calling: how long a call took, less the bare one, round by round."""

    def __init__(self, section: str, row: Row, way: str, prepare: Callable[[], Batch], longest: float) -> None:
        self.section, self.row, self.way = section, row, way
        self.added: list[float] = []
        self.error: str | None = None
        self.batch: Batch = lambda calls: 0.0
        self.calls = 50
        try:
            with patience(10):
                self.batch = prepare()
                begun = time.perf_counter()
                self.batch(1)
                if time.perf_counter() - begun > 0.1:
                    raise Admits("waits, so that its cost is not seen")
                took = self.batch(20)
            self.calls = max(20, min(20_000, int(longest / max(took, 1e-8))))
        except Exception as error:
            self.error = str(error) if isinstance(error, Admits) else f"{type(error).__name__}: {error}"[:70]

    @property
    def bare(self) -> str:
        return ("failing" if "failing" in self.way else "plain") + (" async" if "async" in self.way else "")


def cells(name: str, row: Row, loop: asyncio.AbstractEventLoop, longest: float) -> list[Cell]:
    section = SECTIONS[name]
    ways = Ways(section, row, loop)
    found = []
    for is_async in [False] * row.sync + [True] * row.is_async:
        end = "async" if is_async else "sync"
        found.append((end, functools.partial(ways.succeeding, is_async)))
        if row.failing is not None:
            found.append((f"failing {end}", functools.partial(ways.failing, is_async)))
        if row.tight is not None:
            found.append((f"refused {end}", functools.partial(ways.refused, is_async)))
        if row.trial is not None:
            found.append((f"half-open {end}", functools.partial(ways.half_open, is_async)))
    return [Cell(name, row, way, prepare, longest) for way, prepare in found]


def measure_section(name: str, rounds: int, fast: bool) -> list[Cell]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # some peers ask for it where they are made
    loop.set_exception_handler(lambda loop, context: None)  # what a peer leaves behind is its own affair
    todo = [cell for row in SECTIONS[name].rows for cell in cells(name, row, loop, 0.001 if fast else 0.003)]
    floors: dict[str, Batch] = {
        "plain": functools.partial(sync_batch, answer),
        "failing": functools.partial(erring_batch, fails),
        "plain async": lambda calls: loop.run_until_complete(async_batch(answer_async, calls)),
        "failing async": lambda calls: loop.run_until_complete(erring_async_batch(fails_async, calls)),
    }
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            here = {bare: min(batch(5000) for _ in range(2)) for bare, batch in floors.items()}
            for bare, took in here.items():
                BARE.setdefault(bare, []).append(took)
            for cell in todo:
                if cell.error is None:
                    try:
                        took = min(cell.batch(cell.calls) for _ in range(1 if fast else 2))
                    except Exception as error:
                        cell.error = f"{type(error).__name__}: {error}"[:70]
                        continue
                    cell.added.append(took - here[cell.bare])
            gc.collect()
    finally:
        gc.enable()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.001))
        asyncio.set_event_loop(None)
        loop.close()
    return todo


threading.excepthook = lambda args: None  # a second probe that is refused ends its thread so
BARE: dict[str, list[float]] = {}


def threads(fn: Any, number: int, calls: int) -> float:
    """Calls per second of all threads together."""
    start = threading.Barrier(number + 1)

    def work() -> None:
        start.wait()
        for _ in range(calls):
            fn(1)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(number)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join(max(0.0, begun + 5.0 - time.perf_counter()))
        if worker.is_alive():
            raise Admits("does not come back")
    return number * calls / (time.perf_counter() - begun)


def throughput(row: Row, number: int, fast: bool) -> float | str:
    try:
        fn = row.make()(answer)
        once = max(sync_batch(fn, 200), 1e-8)
        calls = max(50, int((0.03 if fast else 0.1) / once / number))
        return median(threads(fn, number, calls) for _ in range(3))
    except Exception as error:
        return str(error) if isinstance(error, Admits) else f"{type(error).__name__}: {error}"[:70]


# --- telling --------------------------------------------------------------------------------------------------------


def entry(cell: Cell) -> dict[str, Any]:
    told: dict[str, Any] = {"section": cell.section, "row": cell.row.name, "way": cell.way}
    if cell.row.peer:
        told["version"] = harness.versions(cell.row.peer)[cell.row.peer]
    if cell.row.why:
        told["why"] = cell.row.why
    if cell.error is not None:
        return {**told, "error": cell.error}
    added = [value * 1e9 for value in cell.added]
    bare = median(BARE[cell.bare]) * 1e9
    return {
        **told,
        "added_ns": round(median(added)),
        "from_ns": round(min(added)),
        "to_ns": round(max(added)),
        "ratio_to_bare": round((bare + median(added)) / bare, 2),
    }


def show(name: str, table: list[dict[str, Any]]) -> None:
    ours: dict[str, float] = {}
    print(f"\n{name:<32}{'way':<16}{'added ns':>9}  {'range':<17}{'÷ bare':>7}{'÷ ours':>8}")
    for line in table:
        if "added_ns" not in line:
            print(f"  {line['row']:<29} {line['way']:<16}  {line['error']}")
            continue
        first = ours.setdefault(line["way"], line["added_ns"])
        times = line["added_ns"] / first if first > 0 else float("nan")
        lost = f"  {first - line['added_ns']:,} ns less than ours" if line["added_ns"] < first else ""
        figures = (
            f"{line['added_ns']:>9,}  {line['from_ns']}–{line['to_ns']:<10}{line['ratio_to_bare']:>9}{times:>8.1f}"
        )
        print(f"  {line['row'] + ' ' + line.get('version', ''):<29} {line['way']:<16}{figures}{lost}", flush=True)


def main() -> None:
    opts = harness.options(
        __doc__,
        lambda p: p.add_argument(
            "--only", choices=sorted(SECTIONS), action="append", help="this one (may be repeated)"
        ),
        lambda p: p.add_argument("--rounds", type=int, default=None, help="default 15, with --fast 3"),
    )
    rounds = opts.rounds or (3 if opts.fast else 15)
    names = opts.only or list(SECTIONS)
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    harness.pin((os.cpu_count() or 1) - 1)
    table: list[dict[str, Any]] = []
    for name in names:
        found = [entry(cell) for cell in measure_section(name, rounds, opts.fast)]
        show(name, found)
        table += found
    if affinity is not None:
        os.sched_setaffinity(0, affinity)
    speed: dict[str, dict[str, float | str]] = {}
    print(f"\n{'million calls a second':<45}{'8 threads':>12}{'16 threads':>12}")
    for name in (name for name in THREADED if name in names):
        for row in (row for row in SECTIONS[name].rows if row.sync):
            speeds = {f"{number} threads": throughput(row, number, opts.fast) for number in (8, 16)}
            speed[f"{name}/{row.name}"] = speeds
            shown = [f"{s / 1e6:.2f}" if isinstance(s, float) else "fails" for s in speeds.values()]
            print(f"  {name + '/' + row.name:<43}{shown[0]:>12}{shown[1]:>12}")
    harness.finish(opts, {
        "rounds": rounds,
        "bare_ns": {bare: round(median(took) * 1e9, 1) for bare, took in BARE.items()},
        "about": {name: SECTIONS[name].about for name in names},
        "table": table,
        "calls_per_second": speed,
    })  # fmt: skip


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    _rows_shared.close()
    os._exit(0)  # probes that never come back, and pools of peers, would keep the interpreter
