"""Simulated servers in virtual time: one that answers after a drawn time, one that shares its processor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol, TypeAlias

from .world import World

Done: TypeAlias = Callable[[bool, float], object]  # (did it succeed, now)
Random: TypeAlias = Callable[[], float]


class Server(Protocol):
    """A simulated server: what an endpoint's `carrier` must be able to do."""

    served: int

    @property
    def pending(self) -> int:
        """Requests in service, from all clients: what the server itself would report."""

    @property
    def latency(self) -> float:
        """What the server would report as its latency at the present load, in seconds."""

    def start(self, now: float, done: Done) -> None:
        """Take a request; `done` is called when it is answered."""


class Delay:
    """Answers after `latency()` seconds, however many ask. `failing` makes it answer at once, and badly."""

    def __init__(self, world: World, latency: Callable[[], float]) -> None:
        self.world = world
        self.draw = latency
        self.failing: Callable[[], float] | None = None  # draws the time of a failure, when there is one
        self.pending: int = 0
        self.served: int = 0
        self.latency: float = 0.0

    def start(self, now: float, done: Done) -> None:
        self.served += 1
        self.pending += 1
        took, healthy = (self.draw(), True) if self.failing is None else (self.failing(), False)

        def finish(now: float) -> None:
            self.pending -= 1
            self.latency = took
            done(healthy, now)

        self.world.at(now + took, finish)


class Sharing:
    """A processor shared by all requests in service: each gets at most one core, all together get `cores`.

    Progress is kept as the work that a request present since the beginning would have received; a request is finished
    when that has grown by its own work (virtual-time processor sharing), so an event costs O(log n).
    """

    def __init__(self, world: World, work: Callable[[], float], cores: float = 1.0, *, most: float = 1.0) -> None:
        self.world = world
        self.work = work
        self.cores: float = cores
        self.most = most  # cores that one request can use
        self.served: int = 0
        self._jobs: list[tuple[float, int, float, Done]] = []
        self._given = 0.0  # work given to each, in core-seconds
        self._since = 0.0
        self._epoch = 0
        self._units: deque[float] = deque(maxlen=64)  # latency ÷ requests in service at arrival, of the last answers

    @property
    def pending(self) -> int:
        return len(self._jobs)

    @property
    def latency(self) -> float:
        """What a new request may expect: the mean latency per request in service of the last 64, times those now.

        (Prequal takes the median of latencies at the present load. With much variation in the work that looks too good
        on a server that is falling behind, because there only the short requests have been answered yet.)
        """
        return sum(self._units) / len(self._units) * (len(self._jobs) + 1) if self._units else 0.0

    def start(self, now: float, done: Done) -> None:
        self._advance(now)
        self.served += 1
        arrived, at_load = now, len(self._jobs)

        def finish(healthy: bool, now: float) -> None:
            self._units.append((now - arrived) / (at_load + 1))
            done(healthy, now)

        heappush(self._jobs, (self._given + self.work(), self.served, now, finish))
        self._plan(now)

    def resize(self, now: float, cores: float) -> None:
        """From now on there are `cores` cores."""
        self._advance(now)
        self.cores = cores
        self._plan(now)

    def _advance(self, now: float) -> None:
        if self._jobs:
            self._given += (now - self._since) * min(self.most, self.cores / len(self._jobs))
        self._since = now

    def _plan(self, now: float) -> None:
        self._epoch = epoch = self._epoch + 1
        if self._jobs:
            rate = min(self.most, self.cores / len(self._jobs))
            when = now + max(0.0, self._jobs[0][0] - self._given) / rate
            self.world.at(when, lambda now: self._finish(epoch, now))

    def _finish(self, epoch: int, now: float) -> None:
        if epoch != self._epoch:
            return  # a request came or left since this was planned
        self._advance(now)
        _, _, _, done = heappop(self._jobs)
        self._plan(now)
        done(True, now)
