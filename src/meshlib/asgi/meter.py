"""Load meter: requests in flight, and how long a request takes at that load.

After Prequal's server module (NSDI 2024): each latency is kept with the number of requests that were in flight when the
request came, and a probe is answered with the median of the recent ones that came at about the present number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf, log2
from statistics import median_low
from threading import Lock
from typing import TypeAlias

from .. import forked
from ..balancing.load_report import LoadReport
from ..policies.shell import checks

Request: TypeAlias = tuple[float, int]
"""When it came, and with how many others already in flight (as `_slot` sorts it)."""

SAMPLES = 16  # latencies kept for each number in flight
SLICES = 10  # of the window over which rates are counted


class LoadMeter:
    """Counts the requests of one server. All times in seconds; safe from any thread.

    Latencies older than `memory` are forgotten, and rates are those of the last `memory`. `utilization` is asked for
    each report: 0–1, more if overloaded.
    """

    def __init__(self, *, memory: float = 10.0, utilization: Callable[[], float] | None = None) -> None:
        self.memory: float = checks.seconds("memory", memory)
        self.in_flight: int = 0
        self._utilization = utilization
        self._lock = Lock()
        self._latencies: dict[int, deque[tuple[float, float]]] = {}  # by slot: (when it was measured, latency)
        self._slices: deque[list[float]] = deque()  # [number of the slice, requests, errors]
        self._since: float | None = None
        forked.register(self)

    def _after_fork(self) -> None:
        self._lock = Lock()
        self.in_flight = 0

    def enter(self, now: float) -> Request:
        """A request has come. Hand what you get to `answered` and `leave`."""
        with self._lock:
            if self._since is None:
                self._since = now
            request = (now, _slot(self.in_flight))
            self.in_flight += 1
            return request

    def answered(self, request: Request, now: float) -> None:
        """Its answer begins."""
        started, slot = request
        with self._lock:
            kept = self._latencies.get(slot)
            if kept is None:
                kept = self._latencies[slot] = deque(maxlen=SAMPLES)
            kept.append((now, now - started))

    def leave(self, now: float, *, failed: bool = False) -> None:
        """A request is over, body and all."""
        with self._lock:
            self.in_flight = max(0, self.in_flight - 1)  # a forked child may hear of a request of its parent
            number = now // (self.memory / SLICES)
            if not self._slices or self._slices[-1][0] != number:
                self._slices.append([number, 0.0, 0.0])
                while self._slices[0][0] <= number - SLICES:
                    self._slices.popleft()
            self._slices[-1][1] += 1.0
            self._slices[-1][2] += failed

    def report(self, now: float, *, leaving: int = 0) -> LoadReport:
        """What to tell. `leaving` are requests that are in flight here and not any more for whoever reads the report:
        the one whose answer carries it."""
        utilization = None if self._utilization is None else self._utilization()
        with self._lock:
            present = max(0, self.in_flight - leaving)
            oldest = now // (self.memory / SLICES) - SLICES
            calls = sum(calls for number, calls, _ in self._slices if number > oldest)
            errors = sum(errors for number, _, errors in self._slices if number > oldest)
            window = min(self.memory, max(now - (now if self._since is None else self._since), self.memory / SLICES))
            return LoadReport(
                now,
                in_flight=present,
                latency=self._latency(present, now),
                utilization=utilization,
                qps=calls / window,
                eps=errors / window,
            )

    def _latency(self, present: int, now: float) -> float | None:
        here, oldest = _slot(present), now - self.memory
        best, distance = None, inf
        for slot, kept in self._latencies.items():
            if abs(slot - here) < distance and kept[-1][0] >= oldest:
                best, distance = kept, abs(slot - here)
        return None if best is None else median_low(latency for at, latency in best if at >= oldest)


def _slot(in_flight: int) -> int:
    """Exact up to 16; above, four slots for each doubling."""
    return in_flight if in_flight <= 16 else int(4.0 * log2(in_flight))
