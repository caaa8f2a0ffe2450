"""Unified accrual: Linkerd 2's rule, failures in a row or a windowed success rate in which 429 counts too."""

from __future__ import annotations

from collections import deque

from ..shell import checks
from .accrual_backoff import Backoff, EjectionBackoff


class UnifiedAccrual:
    """Dead after `consecutive_failures` (0: no limit), or below `success_rate` (0–1) within `window` seconds.

    After Linkerd 2's unified accrual. The rate is exact over ten equal buckets that expire by themselves, and decides
    from `minimum_calls` on. `limited` counts a 429 or RESOURCE_EXHAUSTED: it lowers the rate, but ends the run. Once
    dead, each failed probe is one more wait, and only `revived` brings it back. Raises ValueError.
    """

    __slots__ = (
        "_buckets",
        "_dead",
        "_run",
        "_waits",
        "consecutive_failures",
        "minimum_calls",
        "success_rate",
        "window",
    )

    def __init__(
        self,
        backoff: Backoff,
        *,
        consecutive_failures: int = 7,
        success_rate: float = 0.8,
        window: float = 10.0,
        minimum_calls: int = 5,
    ) -> None:
        self.consecutive_failures: int = checks.count("consecutive_failures", consecutive_failures, min_value=0)
        self.success_rate: float = checks.ratio("success_rate", success_rate, zero=True)
        if not consecutive_failures and not success_rate:
            raise ValueError(
                f"consecutive_failures={consecutive_failures!r}, success_rate={success_rate!r}: expected one above 0"
            )
        self.window: float = checks.seconds("window", window)
        self.minimum_calls: int = checks.count("minimum_calls", minimum_calls, min_value=0)
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
        return self._decide(self._count(0, now) or 0 < self.consecutive_failures <= self._run)

    def limited(self, now: float) -> float | None:
        """The server refused the call with 429."""
        self._run = 0
        return self._decide(self._count(0, now))

    def bad_probe(self, now: float) -> float:
        """A probe failed, or the server refused it with 429: the next wait, whatever the window holds by now."""
        self._count(0, now)
        return self._waits.next()

    def revived(self, now: float) -> None:
        self._run = 0
        self._dead = False
        self._buckets.clear()
        self._waits.restart()

    def _decide(self, dead: bool) -> float | None:
        self._dead = self._dead or dead
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
        return calls >= self.minimum_calls and sum(one[1] for one in buckets) < self.success_rate * calls
