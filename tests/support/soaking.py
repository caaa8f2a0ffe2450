"""Requests at full speed to servers that are killed, stopped and misbehave: what came of each, and what is left over.

The short form is `test_soak.py`, the long one `benchmarks/soak.py`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshlib import Bulkhead, CircuitBreaker, Consecutive, Endpoint, Mesh, Probes

DEADLINE = 2.0  # seconds for a call, with all its attempts
SLACK = 1.0  # and for telling so
BEAT = 0.02  # seconds between two looks at the clock
LOOP_HELD_UP = 0.5  # seconds of our own work between two turns of the event loop
TASKS = 20
REPEATED = frozenset({"GET", "PUT"})


class Victim:
    """One server process and what is done to it."""

    def __init__(self, log: Path, seed: int) -> None:
        self.log = log
        self._seed = seed
        self._lives = 0
        self.port = 0
        self._process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        self._lives += 1
        program = [sys.executable, str(Path(__file__).with_name("rough_server.py")), str(self.log)]
        what = [*program, f"{self._seed} {self._lives}", str(self.port)]
        self._process = subprocess.Popen(what, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def received(self) -> list[tuple[str, int]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(method, int(number)) for method, number in (line.split() for line in lines)]


class Pulse:
    """The time during which the event loop ran: a machine that is busy with other things makes nobody late here."""

    def __init__(self) -> None:
        self.time = 0.0
        self.longest = 0.0  # stop of the loop, whoever was to blame
        self.ours = 0.0  # the most processor time that this thread used between two beats

    async def beat(self) -> None:
        last, worked = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(BEAT)
            now, work = time.monotonic(), time.thread_time()
            self.time += min(now - last, 3 * BEAT)
            self.longest = max(self.longest, now - last)
            self.ours = max(self.ours, work - worked)
            last, worked = now, work


class Soak:
    """`enough(requests, blows)` says when to stop. `complaints` must be empty in the end."""

    def __init__(self, client: Any, family: Any, victims: list[Victim], enough: Callable[[int, int], bool]) -> None:
        self.client = client
        self.family = family
        self.victims = victims
        self.outcomes: Counter[str] = Counter()
        self.blows = 0
        self.requests = 0
        self.slowest = 0.0
        self.pulse = Pulse()
        self.complaints: list[str] = []
        self._enough = enough
        self._dice = random.Random(4)

    async def run(self) -> None:
        gc.freeze()  # to look through what a long test run holds already would stop the loop for most of a second
        try:
            await self._run()
        finally:
            gc.unfreeze()

    async def _run(self) -> None:
        beats = asyncio.create_task(self.pulse.beat())
        blows = asyncio.create_task(self._torment())
        await asyncio.gather(*[self._ask() for _ in range(TASKS)])
        await blows
        beats.cancel()
        await asyncio.wait([beats])
        if self.pulse.ours > LOOP_HELD_UP:
            self.complaints.append(f"the event loop was held up for {self.pulse.ours:.2f} s of work")

    def over(self) -> bool:
        return self._enough(self.requests, self.blows)

    async def _torment(self) -> None:
        dice = self._dice
        while not self.over():
            victim = dice.choice(self.victims)
            if dice.random() < 0.5:
                victim.stop()
                await asyncio.sleep(dice.uniform(0.02, 1.0))
                victim.go_on()
            else:
                await asyncio.to_thread(victim.kill)
                await asyncio.sleep(dice.uniform(0.0, 0.3))
                await asyncio.to_thread(victim.start)
            self.blows += 1
            await asyncio.sleep(dice.uniform(0.0, 0.2))

    async def _ask(self) -> None:
        dice = self._dice
        while not self.over():
            self.requests += 1
            number, method = self.requests, dice.choice(["GET", "GET", "PUT", "POST", "POST", "PATCH"])
            streamed, patience = dice.random() < 0.3, dice.uniform(0.0, 0.1) if dice.random() < 0.05 else None
            start = self.pulse.time
            try:
                async with asyncio.timeout(patience):
                    outcome = await self._one(method, number, streamed)
            except TimeoutError as error:
                outcome = "cancelled" if patience is not None else type(error).__name__
            except self.family.TransportError as error:
                outcome = type(error).__name__
                if error.request.headers["x-number"] != str(number) or not hasattr(error, "service"):
                    self.complaints.append(f"request {number}: {error!r} is not its own")
            except Exception as error:
                outcome = type(error).__name__
                self.complaints.append(f"request {number}: {error!r} is no typed error")
            took = self.pulse.time - start
            self.slowest = max(self.slowest, took)
            if took > DEADLINE + SLACK:
                self.complaints.append(f"request {number}: {outcome} after {took:.1f} s of a running loop")
            self.outcomes[outcome] += 1
            if outcome == "BreakerOpen":
                await asyncio.sleep(0.01)  # or the soak would be one of refusals

    async def _one(self, method: str, number: int, streamed: bool) -> str:
        body = None if method == "GET" else b"y" * 100
        request = self.client.build_request(
            method, "http://users/", content=body, headers={"x-number": str(number)}, timeout=DEADLINE
        )
        if streamed:
            response = await self.client.send(request, stream=True)
            try:
                content = await response.aread()
            finally:
                await response.aclose()
        else:
            content = (await self.client.send(request)).content
        if response_is_wrong(content):
            self.complaints.append(f"request {number}: {len(content)} bytes of somebody else's answer")
        return "answer"

    def count(self) -> None:
        """What may not reach two servers, or one twice, has not."""
        seen: Counter[int] = Counter()
        for victim in self.victims:
            for method, number in victim.received():
                if method not in REPEATED:
                    seen[number] += 1
        self.complaints += [
            f"request {number} was received {times} times" for number, times in seen.items() if times > 1
        ]


def response_is_wrong(content: bytes) -> bool:
    return content not in (b"x" * 1000, b"")


def what_is_held(client: Any, mesh: Mesh, bulkhead: Bulkhead) -> dict[str, int]:
    """All that should be nought when nobody asks for anything."""
    state = client.__dict__["_meshlib_door"]
    stations = state.lane._stations.values() if state.lane is not None else ()
    pools = [pool for station in stations for pool in station._pools.values()]
    endpoints = [endpoint for cluster in mesh.current.clusters.values() for endpoint in cluster.balancer.endpoints]
    return {
        "in flight": sum(endpoint.pending for endpoint in endpoints),
        "bulkhead": bulkhead.metrics().in_flight + bulkhead.metrics().waiting,
        "busy": len(state.busy),
        "limit": state.limit._slots.metrics().in_flight if state.limit is not None else 0,
        "active connections": sum(pool.active for pool in pools),
        "pending for a connection": sum(pool.pending for pool in pools),
        "tasks": len(asyncio.all_tasks()) - 1,
    }


def open_files() -> int:
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0


async def soak(
    client_kind: Any, folder: Path, enough: Callable[[int, int], bool], mesh_of: Callable[..., Mesh], *, fast: bool
) -> Soak:
    """A mesh with everything on over four victims."""
    victims = [Victim(folder / f"{client_kind.name} {fast} {number}.log", number) for number in range(4)]
    try:
        files = open_files()
        bulkhead = Bulkhead(TASKS, max_wait=1.0, name="users")
        breaker = CircuitBreaker(name="users", trip=Consecutive(20), cooldown=0.05, probes=Probes(lease=DEADLINE))
        mesh = mesh_of(
            *[Endpoint("127.0.0.1", victim.port) for victim in victims],
            gates=[breaker, bulkhead],
            timeout=DEADLINE,
            per_try_timeout=0.5,
            attempts=3,
            hedge={"delay": 0.05, "max_extra_load": 0.5},
        )
        async with client_kind.kind(mesh=mesh, fast=fast, limits=client_kind.lib.Limits(max_connections=50)) as client:
            run = Soak(client, client_kind.lib, victims, enough)
            await run.run()
            held = {name: number for name, number in what_is_held(client, mesh, bulkhead).items() if number}
            if held:
                run.complaints.append(f"held in the end: {held}")
            await _works_again(run)
        await asyncio.sleep(0)
        if open_files() > files:
            run.complaints.append(f"{open_files() - files} files open more than before")
    finally:
        for victim in victims:
            victim.kill()
    run.count()
    return run


async def _works_again(run: Soak) -> None:
    answers = 0
    for _ in range(200):
        run.requests += 1
        try:
            answers += await run._one("GET", run.requests, False) == "answer"
        except run.family.TransportError:
            await asyncio.sleep(0.05)  # the breaker's cooldown
    if answers < 100:
        run.complaints.append(f"only {answers} of 200 later calls succeeded")
