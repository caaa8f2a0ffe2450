"""What does a pick cost, and what a report? Nanoseconds per algorithm and number of endpoints.

    python benchmarks/balancers.py [--fast] [--json FILE]

"report" is `enter` + `leave`. "call" is a plain Python call on the same machine in the same run: read the ratios.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable
from random import Random
from time import perf_counter

import _harness as harness

from meshlib.balancing import NAMES, Endpoint, carry_over, make_balancer
from meshlib.call import SUCCESS

SIZES = (10, 100, 1_000, 10_000)


def per_call(work: Callable[[int], object], times: int, repeats: int = 5) -> float:
    """The best of several runs, in nanoseconds."""
    best = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        work(times)
        best = min(best, perf_counter() - start)
    return best / times * 1e9


def fleet(size: int) -> list[Endpoint]:
    return [Endpoint(f"10.0.{n >> 8}.{n & 255}", 8080) for n in range(size)]


def plain_call() -> float:
    def nothing() -> None:
        pass

    def run(times: int) -> None:
        for _ in range(times):
            nothing()

    return per_call(run, 200_000)


def measure(name: str, size: int, repeats: int) -> dict[str, float]:
    members, random = fleet(size), Random(1).random
    balancer = make_balancer(name, "bench", members)
    for step, member in enumerate(members):
        member.leave(member.enter(1.0 + step * 1e-4), SUCCESS, 2.0 + step * 1e-4, 0.1)
    keyed = name in ("ring_hash", "maglev")

    def picks(times: int) -> None:
        pick = balancer.pick
        for step in range(times):
            pick(random, 3.0 + step * 1e-3, key=step * 11_400_714_819_323_198_485 % 2**64 if keyed else None)

    def reports(times: int) -> None:
        for step in range(times):
            member, now = members[step % size], 3.0 + step * 1e-3
            member.leave(member.enter(now), SUCCESS, now + 0.1, 0.1)

    def updates(times: int) -> None:
        for step in range(times):
            changed = [*balancer.endpoints[:-1], Endpoint("10.9.9.9", 1 + step)]
            balancer.update(carry_over(balancer.endpoints, changed))

    times = 300 if name.endswith("scan") else 20_000
    return {
        "pick": per_call(picks, times, repeats),
        "report": per_call(reports, 20_000, repeats),
        "update": per_call(updates, 3, min(repeats, 3)),
    }


def bytes_each(size: int = 10_000) -> float:
    tracemalloc.start()
    members = fleet(size)
    balancer = make_balancer("default", "bench", members)
    for member in members:
        permits = [member.enter(1.0 + member.port) for _ in range(3)]
        for permit in permits:
            member.leave(permit, SUCCESS, 2.0 + member.port, 0.1)
    used = tracemalloc.get_traced_memory()[0] / len(balancer.endpoints)
    tracemalloc.stop()
    return used


def main() -> None:
    options = harness.options(__doc__)
    harness.pin((os.cpu_count() or 1) - 1)
    sizes, repeats = (SIZES[:2], 1) if options.fast else (SIZES, 5)
    results = {name: {size: measure(name, size, repeats) for size in sizes} for name in NAMES}
    call, memory = plain_call(), bytes_each()
    sys.stdout.write(f"a plain call: {call:.0f} ns; an endpoint with history: {memory:.0f} bytes\n\n")
    sys.stdout.write(
        f"{'ns per pick / report':20}" + "".join(f"{size:>16,}" for size in SIZES) + f"{'update ms':>12}\n"
    )
    for name, rows in results.items():
        cells = "".join(f"{row['pick']:>9.0f} /{row['report']:>5.0f}" for row in rows.values())
        sys.stdout.write(f"{name:20}{cells}{rows[max(rows)]['update'] / 1e6:>12.2f}\n")
    found = {name: {str(size): row for size, row in rows.items()} for name, rows in results.items()}
    harness.finish(options, {"call": call, "bytes": memory, "ns": found})


if __name__ == "__main__":
    main()
