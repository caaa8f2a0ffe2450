"""Window rates: so many permits in each window of time, of the clock's or of any."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Self

from ..shell import checks
from .token_bucket import REFUSED, nanos


class FixedWindow:
    """`limit` permits per window of `per` seconds: cheap and coarse, for twice as many may meet at a border.

    `aligned`: windows begin at multiples of `per`. Otherwise a window begins with the first call after the last one
    has ended, as tower's RateLimit counts. Raises ValueError for values without sense.
    """

    __slots__ = ("_ends", "_period", "_used", "aligned", "limit", "per")

    def __init__(self, limit: int, *, per: float = 1.0, aligned: bool = True) -> None:
        self.limit: int = checks.count("limit", limit)
        self.per: float = checks.seconds("per", per)
        self._period = nanos(per)
        self.aligned: bool = aligned
        self._ends: float = -inf
        self._used = 0

    def _turn(self, now: float) -> tuple[int, float, int]:
        current, ends, used, period = round(now * 1e9), self._ends, self._used, self._period
        if current < ends:
            return current, ends, used
        if current >= ends and used > self.limit:  # reservations made in advance fill the next windows
            windows = min((used - 1) // self.limit, int((current - ends) // period) + 1)
            used -= windows * self.limit
            ends += windows * period
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
        return type(self)(self.limit, per=self.per, aligned=self.aligned)


class SlidingWindow:
    """`limit` permits in any `per` seconds, exactly: it remembers when each of the last `limit` was used.

    Raises ValueError for values without sense.
    """

    __slots__ = ("_period", "_used", "_uses", "limit", "per")

    def __init__(self, limit: int, *, per: float = 1.0) -> None:
        self.limit: int = checks.count("limit", limit)
        self.per: float = checks.seconds("per", per)
        self._period = nanos(per)
        self._used = 0  # permits in `_uses`
        self._uses: deque[list[int]] = deque()  # [nanoseconds, permits], in order; some may lie ahead

    def __copy__(self) -> Self:
        other = self.fresh()
        other._used, other._uses = self._used, deque([at, permits] for at, permits in self._uses)
        return other

    def _forget(self, now: float) -> int:
        current, uses = round(now * 1e9), self._uses
        gone = current - self._period
        while uses and uses[0][0] <= gone:
            self._used -= uses.popleft()[1]
        return current

    def _use(self, at: int, permits: int) -> None:
        uses = self._uses
        self._used += permits
        if uses and uses[-1][0] == at:
            uses[-1][1] += permits
        else:
            uses.append([at, permits])

    def available(self, now: float) -> int:
        """Permits that may be used now; below 0 when some are reserved in advance."""
        self._forget(now)
        return self.limit - self._used

    def wait(self, now: float, permits: int = 1) -> float:
        if permits > self.limit:
            return inf
        current = self._forget(now)
        over = self._used + permits - self.limit
        if over <= 0:
            return 0.0
        for at, used in self._uses:  # until so many are older than the period
            over -= used
            if over <= 0:
                return max(0, at + self._period - current) / 1e9
        return 0.0

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        current = self._forget(now)
        if self._used + permits <= self.limit:
            self._use(current, permits)
            return 0.0
        if max_wait <= 0.0:  # all that are left are younger than the period
            return REFUSED
        wait = self.wait(now, permits)
        if wait > max_wait:
            return REFUSED
        self._use(nanos(now) + nanos(wait), permits)
        return wait

    def refund(self, at: float, permits: int = 1) -> None:
        at = nanos(at)
        while permits > 0 and self._uses:
            nearest = min(reversed(self._uses), key=lambda use: abs(use[0] - at))
            given = min(permits, nearest[1])
            nearest[1] -= given
            self._used -= given
            permits -= given
            if not nearest[1]:
                self._uses.remove(nearest)

    def idle(self, now: float) -> bool:
        self._forget(now)
        return not self._used

    def fresh(self) -> Self:
        return type(self)(self.limit, per=self.per)
