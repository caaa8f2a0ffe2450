"""Gradient limits: follow the slope of round trips; Gradient2, and the older Gradient."""

from __future__ import annotations

from collections.abc import Callable

from ...runtime import SYSTEM
from ..shell import checks
from .limit_curves import Curve, curve, in_nanos, limit_bounds, square_root, steady


class Gradient2:
    """The limit follows the slope between a long average and the latest round trip (Gradient2Limit).

        long = mean of the first 10, then long + (rtt − long) · 2 / (long_window + 1); · 0.95 afterwards if > 2 · short
        in_flight < limit / 2: stay
        limit = clamp(limit · (1 − smoothing) + smoothing · (limit · clamp(tolerance · long / short, 0.5, 1) + queue))

    short is the latest round trip, as in Netflix's, or with a `short_window` above 1 an average like the long one. A
    single round trip is a good measure where all take the same time; where they do not, whatever the load, it keeps the
    limit at its least. Defaults are Netflix's: 20 in 20..200, `smoothing` 0.2, `queue` 4, `long_window` 600 samples,
    `tolerance` 1.5. Drops are not looked at: they show as long round trips. Raises ValueError for values without sense.
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
        short_window: int = 1,
        tolerance: float = 1.5,
        drift: float = 0.95,
    ) -> None:
        self.estimate: float = float(checks.count("initial", initial))
        self.min_limit: int
        self.max_limit: int
        self.min_limit, self.max_limit = limit_bounds(initial, min_limit, max_limit)
        self.smoothing: float = checks.ratio("smoothing", smoothing)
        self.queue: Callable[[int], int] = curve("queue", queue, None)
        self.tolerance: float = checks.number("tolerance", tolerance, min_value=1.0)
        self.drift: float = checks.ratio("drift", drift)
        self.long: ExpAverage = ExpAverage(checks.count("long_window", long_window), 10)
        self.short: ExpAverage | None = (
            ExpAverage(short_window, 10) if checks.count("short_window", short_window) > 1 else None
        )

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        estimate, average = self.estimate, self.long
        short: float = round(rtt * 1e9)
        if short <= 0:
            raise ValueError(f"rtt={rtt!r}: expected seconds, above 0")
        long = average.add(short)
        if self.short is not None:
            short = self.short.add(short)
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
    max(4, √limit), `tolerance` 2. Below 20 only drops and that new start bring it, unless it begins there.
    Raises ValueError for values without sense.
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
        self.estimate: float = float(checks.count("initial", initial))
        self.min_limit: int
        self.max_limit: int
        self.min_limit, self.max_limit = limit_bounds(initial, min_limit, max_limit)
        self.smoothing: float = checks.ratio("smoothing", smoothing)
        self.queue: Callable[[int], int] = curve("queue", queue, square_root(4))
        self.tolerance: float = checks.number("tolerance", tolerance, min_value=1.0)
        self.backoff: float = checks.ratio("backoff", backoff)
        self.probe_interval: int | None = (
            None if probe_interval is None else checks.count("probe_interval", probe_interval)
        )
        self.random = random
        self._steady = steady(initial)
        self.shortest: int = 0
        self._left = self._next_probe()

    def _next_probe(self) -> int:
        return 0 if self.probe_interval is None else int(self.probe_interval * (1 + self.random()))

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Raises ValueError for an `rtt` that is not above 0."""
        nanos, estimate = in_nanos(rtt), self.estimate
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
        least = self.min_limit
        if dropped:
            new = estimate * self.backoff
        elif in_flight < estimate / 2:
            return int(estimate)
        elif estimate < self._steady:
            new = estimate + queue
        else:
            new, least = estimate * gradient + queue, max(least, self._steady)
        if new < estimate:
            new = max(float(least), estimate * (1 - self.smoothing) + self.smoothing * new)
        self.estimate = max(float(queue), min(float(self.max_limit), new))
        return int(self.estimate)


class ExpAverage:
    """The mean of the first `warmup` samples, then an exponential average over `window` (ExpAvgMeasurement)."""

    __slots__ = ("_factor", "_sum", "_warmup", "count", "value")

    def __init__(self, window: int, warmup: int) -> None:
        self._factor = 2.0 / (window + 1)
        self._warmup = warmup
        self._sum = 0.0
        self.count: int = 0
        self.value: float = 0.0

    def add(self, sample: float) -> float:
        if self.count < self._warmup:
            self.count += 1
            self._sum += sample
            self.value = self._sum / self.count
        else:
            self.value = self.value * (1 - self._factor) + sample * self._factor
        return self.value
