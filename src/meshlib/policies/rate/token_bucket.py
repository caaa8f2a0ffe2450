"""Rates: how many permits there are, as arithmetic over (state, now). May so many be used, and if not now, when?

`reserve` answers in seconds: 0 (at once), the wait after which the permits may be used (they are taken already), or −1
(the wait would be longer than `max_wait`; nothing is taken). A wait that equals `max_wait` is granted. Not thread-safe:
the rate limit locks.
"""

from __future__ import annotations

from math import inf
from typing import Protocol, Self

from ..shell import checks

REFUSED = -1.0
_SLACK = 1e-9  # seconds: a token that is late by less than the arithmetic is exact is there


class Rate(Protocol):
    """So many permits per time, in one of several ways of counting."""

    def wait(self, now: float, permits: int = 1) -> float:
        """How long a reservation made now would have to wait, in seconds (`inf`: for ever). Reading never takes."""

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        """Take permits: 0, or the wait in seconds before they may be used, or −1 and nothing is taken."""

    def refund(self, at: float, permits: int = 1) -> None:
        """Undo a reservation for the time `at`, while none of those still waiting comes after it."""

    def available(self, now: float) -> float:
        """Permits that could be used now; below 0 when some are reserved in advance."""

    def idle(self, now: float) -> bool:
        """Whether it is as good as new: forgetting it would change no answer."""

    def fresh(self) -> Self:
        """A new one with the same settings."""


class TokenBucket:
    """`limit` permits per `per` seconds on average, `burst` at once when it was idle (default: `limit`, at least 1).

    In any span of t seconds at most burst + limit / per · t permits, except that one call may ask for more than
    `burst`. A refusal takes nothing. The state is one number, the time at which the bucket will be full again (the
    virtual scheduling form of GCRA, ITU-T I.371). Times are floats: to the resolution that they have at `now`.
    Raises ValueError for values without sense.
    """

    __slots__ = ("_depth", "_full_at", "_interval", "burst", "limit", "per", "rate")

    def __init__(self, limit: float, *, per: float = 1.0, burst: float | None = None) -> None:
        self.limit: float = checks.number("limit", limit, min_value=1e-9)
        self.per: float = checks.seconds("per", per)
        self.rate: float
        self.rate = rate = limit / per  # permits per second
        self.burst: float = max(1.0, limit) if burst is None else checks.number("burst", burst, min_value=1.0)
        self._interval = 1.0 / rate
        self._depth = self.burst / rate + _SLACK
        self._full_at = -inf

    def available(self, now: float) -> float:
        """Tokens in the bucket; below 0 when some are reserved in advance."""
        return self.burst - max(0.0, self._full_at - now) * self.rate

    def wait(self, now: float, permits: int = 1) -> float:
        full_at = self._full_at if self._full_at > now else now
        return max(0.0, full_at + permits * self._interval - now - self._depth)

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        full_at = (self._full_at if self._full_at > now else now) + permits * self._interval
        wait = full_at - now - self._depth
        if wait > 0.0:
            if wait > max_wait:
                return REFUSED
            self._full_at = full_at
            return wait
        self._full_at = full_at
        return 0.0

    def refund(self, at: float, permits: int = 1) -> None:
        self._full_at -= permits * self._interval

    def idle(self, now: float) -> bool:
        return self._full_at <= now

    def fresh(self) -> Self:
        return type(self)(self.limit, per=self.per, burst=self.burst)


class Smooth:
    """`limit` permits per `per` seconds, evenly spaced: one each `per / limit` seconds, `burst` at once (GCRA).

    With `aligned=True` the first of a run is counted from the beginning of its interval (multiples of it since
    `start`), as failsafe's smooth rate limiter does. Raises ValueError for values without sense.
    """

    __slots__ = ("_interval", "_next", "_start", "aligned", "burst", "limit", "per", "start")

    def __init__(
        self, limit: int, *, per: float = 1.0, burst: int = 1, aligned: bool = False, start: float = 0.0
    ) -> None:
        self.limit: int = checks.count("limit", limit)
        self.per: float = checks.seconds("per", per)
        self.burst: int = checks.count("burst", burst)
        self.aligned: bool = aligned
        self.start: float = checks.number("start", start)
        self._start = nanos(start)
        self._interval = nanos(per) / limit if nanos(per) % limit else nanos(per) // limit
        self._next: float = -inf

    @property
    def next_free(self) -> float:
        """When the next permit is free, in seconds since `start` (failsafe's nextFreePermitTime)."""
        return max(0.0, (self._next - self._start) / 1e9)

    def available(self, now: float) -> int:
        """Permits that could be used now; below 0 when some are reserved in advance."""
        return int((self.burst * self._interval - max(0, self._next - nanos(now))) // self._interval)

    def _plan(self, now: float, permits: int) -> tuple[float, float]:
        current = nanos(now)
        if current < self._next:
            begin: float = self._next
        else:
            begin = current - (current - self._start) % self._interval if self.aligned else current
        after = begin + permits * self._interval
        return max(0, after - current - self.burst * self._interval) / 1e9, after

    def wait(self, now: float, permits: int = 1) -> float:
        return self._plan(now, permits)[0]

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        wait, after = self._plan(now, permits)
        if wait > max_wait:
            return REFUSED
        self._next = after
        return wait

    def refund(self, at: float, permits: int = 1) -> None:
        self._next -= permits * self._interval

    def idle(self, now: float) -> bool:
        return self._next <= nanos(now)

    def fresh(self) -> Self:
        return type(self)(self.limit, per=self.per, burst=self.burst, aligned=self.aligned, start=self.start)


class Cycles:
    """`limit` permits in each cycle of `per` seconds since `start`; more can be reserved from the cycles to come.

    After resilience4j's AtomicRateLimiter (what a cycle did not use is gone; permits may go below 0), and failsafe's
    bursty rate limiter, which counts the same way. Raises ValueError for values without sense.
    """

    __slots__ = ("_cycle", "_permits", "_start", "limit", "per", "start")

    def __init__(self, limit: int, *, per: float = 1.0, start: float = 0.0) -> None:
        self.limit: int = checks.count("limit", limit)
        self.per: float = checks.seconds("per", per)
        self.start: float = checks.number("start", start)
        self._start = nanos(start)
        self._cycle = 0
        self._permits = limit

    def cycle(self, now: float) -> int:
        """The number of the current cycle."""
        return (nanos(now) - self._start) // nanos(self.per)

    def available(self, now: float) -> int:
        """Permits left in the current cycle; below 0 when some of the next ones are reserved."""
        passed = self.cycle(now) - self._cycle
        return self._permits if passed <= 0 else min(self._permits + passed * self.limit, self.limit)

    def wait(self, now: float, permits: int = 1) -> float:
        have = self.available(now)
        if have >= permits:
            return 0.0
        period = nanos(self.per)
        rest = period - (nanos(now) - self._start) % period
        more = -((have + self.limit - permits) // self.limit)  # rounded up: whole cycles beyond the next one
        return (rest + max(0, more) * period) / 1e9

    def reserve(self, now: float, permits: int = 1, max_wait: float = 0.0) -> float:
        wait = self.wait(now, permits)
        if wait > max_wait:
            return REFUSED
        self._permits, self._cycle = self.available(now) - permits, max(self._cycle, self.cycle(now))
        return wait

    def drain(self, now: float) -> int:
        """Use up what the current cycle has left; how many that were."""
        left = max(0, self.available(now))
        self.reserve(now, left)
        return left

    def resize(self, limit: int) -> None:
        """From now on, `limit` for each cycle that begins, and for each wait that is worked out."""
        self.limit = checks.count("limit", limit)

    def refund(self, at: float, permits: int = 1) -> None:
        self._permits = min(self._permits + permits, self.limit)

    def idle(self, now: float) -> bool:
        return self.available(now) >= self.limit

    def fresh(self) -> Self:
        return type(self)(self.limit, per=self.per, start=self.start)


def nanos(seconds: float) -> int:
    return round(seconds * 1e9)


def rate_of(limit: Rate | float, per: float, burst: float | None) -> Rate:
    """The rate that plain arguments ask for: `limit` itself, or a bucket of so many per `per` seconds."""
    if not isinstance(limit, int | float):
        checks.like("limit", limit, "reserve", "a number of calls, or a Rate")
        if burst is not None or per != 1.0:
            raise ValueError("burst, per: expected neither beside a Rate, which has its own")
        return limit
    return TokenBucket(limit, per=per, burst=burst)
