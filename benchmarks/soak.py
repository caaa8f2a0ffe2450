"""Does anything break or leak at full speed while servers are killed, stopped and misbehave?

    python benchmarks/soak.py SECONDS [--httpx]

Four server processes are killed and restarted, stopped (SIGSTOP) and continued at random, and reset, close, answer
garbage or half by themselves. Twenty tasks send numbered requests through a mesh with everything on. The run fails if a
request ends in anything but an answer or a typed error, or too late; if one that is not idempotent was received twice;
or if anything is still held when all are done. `--httpx` takes httpx's own road instead of the fast lane.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.client_kinds import CLIENT_KINDS, mesh_of
from support.soaking import soak


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("seconds", type=float)
    arguments.add_argument("--httpx", action="store_true")
    asked = arguments.parse_args()
    until = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory() as folder:
        run = asyncio.run(
            soak(CLIENT_KINDS[0], Path(folder), lambda *_: time.monotonic() >= until, mesh_of, fast=not asked.httpx)
        )
    print(f"{run.requests} requests, {run.blows} blows, the slowest took {run.slowest:.2f} s of a running loop")
    print(
        f"the loop stood still for {run.pulse.longest:.2f} s at most, of which {run.pulse.ours:.2f} s were its own work"
    )
    for outcome, times in run.outcomes.most_common():
        print(f"{times:9} {outcome}")
    for complaint in run.complaints[:50]:
        print("COMPLAINT", complaint)
    return bool(run.complaints)


if __name__ == "__main__":
    sys.exit(main())
