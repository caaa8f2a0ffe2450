"""How many calls at once a server can bear, learnt from how long its answers take.

Each limit is a pure object: `update(now, rtt, in_flight, dropped)` takes one finished call and returns the new limit.
`in_flight` counts the calls under way when that call began, itself included. After Netflix concurrency-limits; round
trips are compared in whole nanoseconds, as there, so that both come to the same integers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf, log10, sqrt
from typing import Protocol, TypeAlias

from ..runtime import SYSTEM
from . import _check

Curve: TypeAlias = int | Callable[[int], int]
"""A number, or a function of the current limit."""

Step: TypeAlias = Callable[[float], float]
"""From the current limit to the next one."""


class Limit(Protocol):
    """What an `AdaptiveLimit` asks. Called under its lock, one call at a time."""

    @property
    def limit(self) -> int:
        """How many calls may be under way at once."""

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Hear of a call that ended at `now` after `rtt` seconds; the new limit."""


def log10_root(limit: int) -> int:
    """The whole part of log10, at least 1: Netflix's Log10RootFunction with baseline 0."""
    return max(1, int(log10(limit))) if limit > 0 else 1


def square_root(least: int) -> Callable[[int], int]:
    """The whole part of the square root, at least `least`: Netflix's SquareRootFunction."""
    return lambda limit: max(least, int(sqrt(limit)))


class FixedLimit:
    """Always the same, unless `settle` says otherwise (Netflix's FixedLimit and SettableLimit)."""

    def __init__(self, limit: int) -> None:
        self.limit = _check.count("limit", limit)

    def settle(self, limit: int) -> None:
        """From the next update on, `limit`."""
        self.limit = _check.count("limit", limit)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        return self.limit


class AIMD:
    """One more after each success under load, a tenth less after each drop or timeout (AIMDLimit).

        dropped or rtt > timeout:  int(limit · backoff)        2 · in_flight ≥ limit:  limit + 1

    Defaults are Netflix's: 20 in 20..200, `backoff` 0.9 in [0.5, 1), `timeout` 5 s.
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
        self.limit = _check.count("initial", initial)
        self.min_limit, self.max_limit = _range(min_limit, max_limit)
        if not 0.5 <= _check.ratio("backoff", backoff) < 1.0:
            raise ValueError(f"backoff={backoff!r}: expected a ratio from 0.5 to below 1")
        self.backoff = backoff
        self.timeout = _check.seconds("timeout", timeout)

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

    A shorter round trip only replaces the shortest; every 30 · limit · (0.5 to 1, drawn anew) samples the next one
    replaces it too. Defaults are Netflix's: 20 up to 1000, threshold root, `alpha` 3 · root, `beta` 6 · root, increase
    and decrease by root, `smoothing` 1.
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
        self.estimate = float(_check.count("initial", initial))
        self.max_limit = _check.count("max_limit", max_limit)
        self.smoothing = _check.ratio("smoothing", smoothing)
        self.alpha = _curve("alpha", alpha, lambda limit: 3 * log10_root(limit))
        self.beta = _curve("beta", beta, lambda limit: 6 * log10_root(limit))
        self.threshold = _curve("threshold", threshold, log10_root)
        self.increase = increase or (lambda limit: limit + log10_root(int(limit)))
        self.decrease = decrease or (lambda limit: limit - log10_root(int(limit)))
        self.probe_multiplier = _check.count("probe_multiplier", probe_multiplier)
        self.random = random
        self.shortest = 0  # nanoseconds; 0: none yet
        self._samples = 0
        self._jitter = 0.5 + 0.5 * random()

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        nanos = _nanos(rtt)
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
        elif queue < self.alpha(limit):
            new = self.increase(estimate)
        elif queue > self.beta(limit):
            new = self.decrease(estimate)
        else:
            return
        new = max(1.0, min(self.max_limit, new))
        self.estimate = (1 - self.smoothing) * estimate + self.smoothing * new


class Gradient2:
    """The limit follows the slope between a long and the latest round trip (Gradient2Limit).

        long = mean of the first 10, then long + (rtt − long) · 2 / (long_window + 1); · 0.95 afterwards if > 2 · rtt
        in_flight < limit / 2: stay
        limit = clamp(limit · (1 − smoothing) + smoothing · (limit · clamp(tolerance · long / rtt, 0.5, 1) + queue))

    Defaults are Netflix's: 20 in 20..200, `smoothing` 0.2, `queue` 4, `long_window` 600 samples, `tolerance` 1.5. Drops
    are not looked at: they show as long round trips.
    """

    def __init__(
        self,
        *,
        initial: int = 20,
        min_limit: int = 20,
        max_limit: int = 200,
        smoothing: float = 0.2,
        queue: Curve = 4,
        long_window: int = 600,
        tolerance: float = 1.5,
        drift: float = 0.95,
    ) -> None:
        self.estimate = float(_check.count("initial", initial))
        self.min_limit, self.max_limit = _range(min_limit, max_limit)
        self.smoothing = _check.ratio("smoothing", smoothing)
        self.queue = _curve("queue", queue, None)
        self.tolerance = _check.number("tolerance", tolerance, least=1.0)
        self.drift = _check.ratio("drift", drift)
        self.long = ExpAverage(_check.count("long_window", long_window), 10)

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        estimate, short, average = self.estimate, round(rtt * 1e9), self.long
        if short <= 0:
            raise ValueError(f"rtt={rtt!r}: expected seconds, above 0")
        long = average.add(short)
        if long > 2 * short:
            average.value = long * self.drift
        if in_flight < estimate / 2:
            return int(estimate)
        gradient = self.tolerance * long / short
        gradient = 1.0 if gradient > 1.0 else 0.5 if gradient < 0.5 else gradient
        smoothing = self.smoothing
        new = estimate * (1 - smoothing) + (estimate * gradient + self.queue(int(estimate))) * smoothing
        new = self.min_limit if new < self.min_limit else self.max_limit if new > self.max_limit else new
        self.estimate = float(new)
        return int(new)


class Gradient:
    """The older form: the slope between the shortest and the latest round trip (GradientLimit).

    The shortest one is forgotten every `probe_interval` to twice as many samples (None: never), and the limit then
    starts again at what it lets queue. Defaults are Netflix's: 50 in 1..1000, `smoothing` 0.2 downwards only, `queue`
    max(4, √limit), `tolerance` 2.
    """

    def __init__(
        self,
        *,
        initial: int = 50,
        min_limit: int = 1,
        max_limit: int = 1000,
        smoothing: float = 0.2,
        queue: Curve | None = None,
        tolerance: float = 2.0,
        backoff: float = 0.9,
        probe_interval: int | None = 1000,
        random: Callable[[], float] = SYSTEM.random,
    ) -> None:
        self.estimate = float(_check.count("initial", initial))
        self.min_limit, self.max_limit = _range(min_limit, max_limit)
        self.smoothing = _check.ratio("smoothing", smoothing)
        self.queue = _curve("queue", queue, square_root(4))
        self.tolerance = _check.number("tolerance", tolerance, least=1.0)
        self.backoff = _check.ratio("backoff", backoff)
        self.probe_interval = None if probe_interval is None else _check.count("probe_interval", probe_interval)
        self.random = random
        self.shortest = 0
        self._left = self._next_probe()

    def _next_probe(self) -> int:
        return 0 if self.probe_interval is None else int(self.probe_interval * (1 + self.random()))

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        nanos, estimate = _nanos(rtt), self.estimate
        if nanos <= 0:
            raise ValueError(f"rtt={rtt!r}: expected seconds, above 0")
        queue = self.queue(int(estimate))
        if self.probe_interval is not None:
            if self._left <= 0:
                self._left = self._next_probe()
                self.estimate = float(max(self.min_limit, queue))
                self.shortest = 0
                return int(self.estimate)
            self._left -= 1
        if self.shortest == 0 or nanos < self.shortest:
            self.shortest = nanos
        gradient = max(0.5, min(1.0, self.tolerance * self.shortest / nanos))
        if dropped:
            new = estimate * self.backoff
        elif in_flight < estimate / 2:
            return int(estimate)
        else:
            new = estimate * gradient + queue
        if new < estimate:
            new = max(float(self.min_limit), estimate * (1 - self.smoothing) + self.smoothing * new)
        self.estimate = max(float(queue), min(float(self.max_limit), new))
        return int(self.estimate)


class Windowed:
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
        self.min_window = _check.seconds("min_window", min_window)
        self.max_window = _check.seconds("max_window", max_window)
        self.min_samples = _check.count("min_samples", min_samples)
        self.min_rtt = _check.seconds("min_rtt", min_rtt, zero=True)
        self.percentile = None if percentile is None else _check.ratio("percentile", percentile)
        self._rtts: list[int] = []
        self._most = 0
        self._dropped = False
        self._ends = -inf

    @property
    def limit(self) -> int:
        return self.delegate.limit

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        if rtt < self.min_rtt:
            return self.limit
        self._rtts.append(_nanos(rtt))
        self._most = max(self._most, in_flight)
        self._dropped = self._dropped or dropped
        if now <= self._ends:
            return self.limit
        rtts, most, lost = self._rtts, self._most, self._dropped
        self._rtts, self._most, self._dropped = [], 0, False
        self._ends = now + min(max(min(rtts) * 2e-9, self.min_window), self.max_window)
        if len(rtts) < self.min_samples:
            return self.limit
        return self.delegate.update(now, self._tracked(rtts) * 1e-9, most, lost)

    def _tracked(self, rtts: list[int]) -> int:
        if self.percentile is None:
            return sum(rtts) // len(rtts)
        return sorted(rtts)[max(0, int(len(rtts) * self.percentile + 0.5) - 1)]


class ExpAverage:
    """The mean of the first `warmup` samples, then an exponential average over `window` (ExpAvgMeasurement)."""

    __slots__ = ("_factor", "_sum", "_warmup", "count", "value")

    def __init__(self, window: int, warmup: int) -> None:
        self._factor = 2.0 / (window + 1)
        self._warmup = warmup
        self._sum = 0.0
        self.count = 0
        self.value = 0.0

    def add(self, sample: float) -> float:
        if self.count < self._warmup:
            self.count += 1
            self._sum += sample
            self.value = self._sum / self.count
        else:
            self.value = self.value * (1 - self._factor) + sample * self._factor
        return self.value


def _nanos(seconds: float) -> int:
    return round(seconds * 1e9)


def _curve(field: str, value: Curve | None, default: Callable[[int], int] | None) -> Callable[[int], int]:
    if value is None and default is not None:
        return default
    if callable(value):
        return value
    number = _check.count(field, value, least=0)
    return lambda limit: number


def _range(least: int, most: int) -> tuple[int, int]:
    _check.count("min_limit", least)
    _check.count("max_limit", most)
    if least > most:
        raise ValueError(f"min_limit={least!r}: expected at most max_limit={most!r}")
    return least, most
