"""Rates by windows of time: so many permits in each, of the clock's or of any."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Self

from ..shell import checks
from .token_bucket import REFUSED, nanos


class FixedWindow:
    """`limit` permits per window of `period` seconds: cheap and coarse, for twice as many may meet at a border.

    `aligned`: windows begin at multiples of `period`. Otherwise a window begins with the first call after the last one
    has ended, as tower's RateLimit counts. Raises ValueError for values without sense.
    """

    __slots__ = ("_ends", "_period", "_used", "aligned", "limit", "period")

    def __init__(self, limit: int, period: float = 1.0, *, aligned: bool = True) -> None:
        self.limit = checks.count("limit", limit)
        self.period = checks.seconds("period", period)
        self._period = nanos(period)
        self.aligned = aligned
        self._ends: float = -inf
        self._used = 0

    def _turn(self, now: float) -> tuple[int, float, int]:
        current, ends, used, period = round(now * 1e9), self._ends, self._used, self._period
        if current < ends:
            return current, ends, used
        while current >= ends and used > self.limit:  # reservations made in advance fill the next windows
            used -= self.limit
            ends += period
        if current >= ends:
            used, ends = 0, current + period - (current % period if self.aligned else 0)
        return current, ends, used

    def available(self, now: float) -> int:
        """Permits left in the current window; below 0 when some of the next ones are reserved."""
        return self.limit - self._turn(now)[2]

    def wait(self, now: float, permits: int = 1) -> float:
        current, ends, used = self._turn(now)
        ahead = (used + permits - 1) // self.limit
        return (ends - current + (ahead - 1) * self._period) / 1e9 if ahead > 0 else 0.0

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        if round(now * 1e9) < self._ends:  # within a window: nothing turns
            used = self._used + permits
            if used <= self.limit:
                self._used = used
                return 0.0
            if max_wait <= 0.0:
                return REFUSED
        wait = self.wait(now, permits)
        if wait > max_wait:
            return REFUSED
        _, self._ends, used = self._turn(now)
        self._used = used + permits
        return wait

    def refund(self, at: float, permits: int = 1) -> None:
        self._used = max(0, self._used - permits)
        if not self._used:
            self._ends = -inf  # the window never began

    def idle(self, now: float) -> bool:
        return self._turn(now)[2] == 0

    def fresh(self) -> Self:
        return type(self)(self.limit, self.period, aligned=self.aligned)


class SlidingWindow:
    """`limit` permits in any `period` seconds, exactly: it remembers when each of the last `limit` was used.

    Raises ValueError for values without sense.
    """

    __slots__ = ("_period", "_used", "limit", "period")

    def __init__(self, limit: int, period: float = 1.0) -> None:
        self.limit = checks.count("limit", limit)
        self.period = checks.seconds("period", period)
        self._period = nanos(period)
        self._used: deque[int] = deque()  # nanoseconds, in order; some may lie ahead

    def _forget(self, now: float) -> int:
        current, used = round(now * 1e9), self._used
        gone = current - self._period
        while used and used[0] <= gone:
            used.popleft()
        return current

    def available(self, now: float) -> int:
        """Permits that may be used now; below 0 when some are reserved in advance."""
        self._forget(now)
        return self.limit - len(self._used)

    def wait(self, now: float, permits: int = 1) -> float:
        if permits > self.limit:
            return inf
        current = self._forget(now)
        over = len(self._used) + permits - self.limit
        return max(0, self._used[over - 1] + self._period - current) / 1e9 if over > 0 else 0.0

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        current = self._forget(now)
        over = len(self._used) + permits - self.limit
        if over <= 0:
            self._used.extend([current] * permits)
            return 0.0
        if max_wait <= 0.0:  # all that are left are younger than the period
            return REFUSED
        wait = self.wait(now, permits)
        if wait > max_wait:
            return REFUSED
        self._used.extend([nanos(now) + nanos(wait)] * permits)
        return wait

    def refund(self, at: float, permits: int = 1) -> None:
        at = nanos(at)
        for _ in range(permits):
            nearest = min(reversed(self._used), key=lambda used: abs(used - at), default=None)
            if nearest is not None:
                self._used.remove(nearest)

    def idle(self, now: float) -> bool:
        self._forget(now)
        return not self._used

    def fresh(self) -> Self:
        return type(self)(self.limit, self.period)
