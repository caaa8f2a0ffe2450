"""Linkerd 2's rule of when an endpoint has failed too much: a run, or a windowed rate in which refusals count too."""

from __future__ import annotations

from collections import deque

from ..shell import checks
from .accrual_backoff import Backoff, EjectionBackoff


class UnifiedAccrual:
    """Dead after `failures` in a row (0: that does not count) or when the success rate within `window` is below `rate`.

    After Linkerd 2's unified accrual. The rate is exact over ten equal buckets that expire by themselves, and judges
    from `requests` calls on. `limited` tells of a 429 or RESOURCE_EXHAUSTED: it counts against the rate, but ends the
    run. Once dead, each failed probe is one more wait, and nothing but `revived` brings it back.
    """

    __slots__ = ("_buckets", "_dead", "_run", "_waits", "failures", "rate", "requests", "window")

    def __init__(
        self, backoff: Backoff, *, failures: int = 7, rate: float = 0.8, window: float = 10.0, requests: int = 5
    ) -> None:
        self.failures = checks.count("failures", failures, min_value=0)
        self.rate = checks.ratio("rate", rate, zero=True)
        if not failures and not rate:
            raise ValueError(f"failures={failures!r}, rate={rate!r}: expected one above 0, or nothing ever counts")
        self.window = checks.seconds("window", window)
        self.requests = checks.count("requests", requests, min_value=0)
        self._run = 0
        self._dead = False
        self._buckets: deque[list[int]] = deque()  # [number of the bucket, good calls, calls]
        self._waits = EjectionBackoff(backoff)

    def success(self, now: float) -> None:
        if not self._dead:
            self._run = 0
            self._count(1, now)

    def failure(self, now: float) -> float | None:
        self._run += 1
        return self._judge(self._count(0, now) or 0 < self.failures <= self._run)

    def limited(self, now: float) -> float | None:
        """The server refused because of too many calls."""
        self._run = 0
        return self._judge(self._count(0, now))

    def bad_probe(self, now: float) -> float:
        """A probe failed, or was refused because of too many calls: the next wait, whatever the window says by now."""
        self._count(0, now)
        return self._waits.next()

    def revived(self, now: float) -> None:
        self._run = 0
        self._dead = False
        self._buckets.clear()
        self._waits.restart()

    def _judge(self, too_much: bool) -> float | None:
        self._dead = self._dead or too_much
        return self._waits.next() if self._dead else None

    def _count(self, good: int, now: float) -> bool:
        number = int(now // (self.window / 10))
        buckets = self._buckets
        while buckets and buckets[0][0] <= number - 10:
            buckets.popleft()
        if not buckets or buckets[-1][0] != number:
            buckets.append([number, 0, 0])
        buckets[-1][1] += good
        buckets[-1][2] += 1
        calls = sum(one[2] for one in buckets)
        return calls >= self.requests and sum(one[1] for one in buckets) < self.rate * calls
