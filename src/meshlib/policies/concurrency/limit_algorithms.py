"""Limit algorithms: how many calls at once a server can bear, computed from how long its answers take.

Each limit is a pure object: `update(now, rtt, in_flight, dropped)` takes one finished call and returns the new limit.
`in_flight` counts the calls under way when that call began, itself included. After Netflix concurrency-limits; round
trips are compared in whole nanoseconds, as there, so that both come to the same integers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

from ...runtime import SYSTEM
from ..shell import checks
from .gradient import ExpAverage, Gradient, Gradient2
from .limit_curves import Curve, Limit, Step, curve, in_nanos, limit_bounds, log10_root, square_root, steady

__all__ = [
    "AIMD", "Curve", "ExpAverage", "FixedLimit", "Gradient", "Gradient2", "Limit", "Step", "Vegas", "WindowedLimit",
    "log10_root", "square_root",
]  # fmt: skip


class FixedLimit:
    """Always the same, unless `settle` changes it (Netflix's FixedLimit and SettableLimit).

    Raises ValueError for values without sense.
    """

    def __init__(self, limit: int) -> None:
        self.limit: int = checks.count("limit", limit)
        self._listeners: list[Callable[[int], object]] = []

    def settle(self, limit: int) -> None:
        """From now on, `limit`."""
        self.limit = checks.count("limit", limit)
        for listener in self._listeners:
            listener(limit)

    def subscribe(self, listener: Callable[[int], object]) -> None:
        """Call `listener` with each new limit."""
        self._listeners.append(listener)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        return self.limit


class AIMD:
    """One more after each success under load, a tenth less after each drop or timeout (AIMDLimit).

        dropped or rtt > timeout:  int(limit · backoff)        2 · in_flight ≥ limit:  limit + 1

    Defaults are Netflix's: 20 in 20..200, `backoff` 0.9 in [0.5, 1), `timeout` 5 s.
    Raises ValueError for values without sense.
    """

    def __init__(
        self,
        *,
        initial: int = 20,
        min_limit: int = 20,
        max_limit: int = 200,
        backoff: float = 0.9,
        timeout: float = 5.0,
    ) -> None:
        self.limit: int = checks.count("initial", initial)
        self.min_limit: int
        self.max_limit: int
        self.min_limit, self.max_limit = limit_bounds(initial, min_limit, max_limit)
        if not 0.5 <= checks.ratio("backoff", backoff) < 1.0:
            raise ValueError(f"backoff={backoff!r}: expected a ratio from 0.5 to below 1")
        self.backoff = backoff
        self.timeout: float = checks.seconds("timeout", timeout)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        limit = self.limit
        if dropped or rtt > self.timeout:
            limit = int(limit * self.backoff)
        elif in_flight * 2 >= limit:
            limit += 1
        self.limit = min(self.max_limit, max(self.min_limit, limit))
        return self.limit


class Vegas:
    """The limit follows the queue that it causes, as TCP Vegas does (VegasLimit).

        queue = ceil(limit · (1 − shortest rtt / rtt))         root = max(1, int(log10(limit)))

        dropped: decrease    2 · in_flight < limit: stay    queue ≤ threshold: + beta
        queue < alpha: increase         queue > beta: decrease         between: stay

    Below 20 only drops bring it, unless it begins there: calls of uneven length look like a queue.
    A shorter round trip only replaces the shortest; every 30 · limit · (0.5 to 1, drawn anew) samples the next one
    replaces it too. Defaults are Netflix's: 20 up to 1000, threshold root, `alpha` 3 · root, `beta` 6 · root, increase
    and decrease by root, `smoothing` 1. Raises ValueError for values without sense.
    """

    def __init__(
        self,
        *,
        initial: int = 20,
        max_limit: int = 1000,
        smoothing: float = 1.0,
        alpha: Curve | None = None,
        beta: Curve | None = None,
        threshold: Curve | None = None,
        increase: Step | None = None,
        decrease: Step | None = None,
        probe_multiplier: int = 30,
        random: Callable[[], float] = SYSTEM.random,
    ) -> None:
        self.estimate: float = float(checks.count("initial", initial))
        self.max_limit: int
        _, self.max_limit = limit_bounds(initial, 1, max_limit)
        self.smoothing: float = checks.ratio("smoothing", smoothing)
        self.alpha: Callable[[int], int] = curve("alpha", alpha, lambda limit: 3 * log10_root(limit))
        self.beta: Callable[[int], int] = curve("beta", beta, lambda limit: 6 * log10_root(limit))
        self.threshold: Callable[[int], int] = curve("threshold", threshold, log10_root)
        self.increase = increase or (lambda limit: limit + log10_root(int(limit)))
        self.decrease = decrease or (lambda limit: limit - log10_root(int(limit)))
        self.probe_multiplier: int = checks.count("probe_multiplier", probe_multiplier)
        self.random = random
        self._steady = steady(initial)
        self.shortest: int = 0  # nanoseconds; 0: none yet
        self._samples = 0
        self._jitter = 0.5 + 0.5 * random()

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        nanos = in_nanos(rtt)
        if nanos <= 0:
            raise ValueError(f"rtt={rtt!r}: expected seconds, above 0")
        self._samples += 1
        if self._samples >= self._jitter * self.probe_multiplier * self.estimate:
            self._jitter = 0.5 + 0.5 * self.random()
            self._samples = 0
            self.shortest = nanos
        elif self.shortest == 0 or nanos < self.shortest:
            self.shortest = nanos
        else:
            self._move(nanos, in_flight, dropped)
        return int(self.estimate)

    def _move(self, nanos: int, in_flight: int, dropped: bool) -> None:
        estimate = self.estimate
        limit = int(estimate)
        queue = ceil(estimate * (1 - self.shortest / nanos))
        if dropped:
            new = self.decrease(estimate)
        elif in_flight * 2 < estimate:
            return
        elif queue <= self.threshold(limit):
            new = estimate + self.beta(limit)
        elif queue < self.alpha(limit) or limit < self._steady:
            new = self.increase(estimate)
        elif queue > self.beta(limit):
            new = max(self._steady, self.decrease(estimate))
        else:
            return
        new = max(1.0, min(self.max_limit, new))
        self.estimate = (1 - self.smoothing) * estimate + self.smoothing * new


class WindowedLimit:
    """Feeds another limit one sample per window instead of each call (WindowedLimit).

    A window ends with the first call after its time, which is twice the shortest round trip of the window before,
    within `min_window` to `max_window` seconds. If it holds `min_samples` calls, the mean round trip (or the one at
    `percentile`), the most calls in flight and whether anything was dropped go on. Round trips below `min_rtt` seconds
    are left out. Defaults are Netflix's: 1 s, 10 calls, 100 µs, the mean.
    """

    def __init__(
        self,
        delegate: Limit,
        *,
        min_window: float = 1.0,
        max_window: float = 1.0,
        min_samples: int = 10,
        min_rtt: float = 0.0001,
        percentile: float | None = None,
    ) -> None:
        self.delegate = delegate
        self.min_window: float = checks.seconds("min_window", min_window)
        self.max_window: float = checks.seconds("max_window", max_window)
        checks.at_most("min_window", min_window, "max_window", max_window)
        self.min_samples: int = checks.count("min_samples", min_samples)
        self.min_rtt: float = checks.seconds("min_rtt", min_rtt, zero=True)
        self.percentile: float | None = None if percentile is None else checks.ratio("percentile", percentile)
        self._ends = -inf
        self._clear()

    def _clear(self) -> None:
        self._calls = self._sum = self._most = 0
        self._shortest = inf
        self._dropped = False
        self._rtts: list[int] = []  # only for a percentile

    @property
    def limit(self) -> int:
        return self.delegate.limit

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        if rtt < self.min_rtt:
            return self.limit
        nanos = in_nanos(rtt)
        self._calls += 1
        self._sum += nanos
        self._shortest = min(self._shortest, nanos)
        if self.percentile is not None:
            self._rtts.append(nanos)
        self._most = max(self._most, in_flight)
        self._dropped = self._dropped or dropped
        if now <= self._ends:
            return self.limit
        calls, tracked, most, lost = self._calls, self._tracked(), self._most, self._dropped
        self._ends = now + min(max(self._shortest * 2e-9, self.min_window), self.max_window)
        self._clear()
        return self.limit if calls < self.min_samples else self.delegate.update(now, tracked * 1e-9, most, lost)

    def _tracked(self) -> int:
        if self.percentile is None:
            return self._sum // self._calls
        return sorted(self._rtts)[max(0, int(self._calls * self.percentile + 0.5) - 1)]
