"""Hedge delay: estimates from the latencies of the last seconds after which time a call is hedged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from ..shell import checks
from ..statistics.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Percentile:
    """A hedge is due after the latency that `percentile` (0–1) of the calls of the last `window` seconds stay below.

    `percentile=None`: 1 - the hedge's `max_extra_load`, as in Finagle. The delay is computed every `refresh` seconds.
    It is at least `min_delay` seconds. Above `max_delay` seconds, before the first refresh and below `minimum_calls`
    calls nothing is hedged. Raises ValueError for values out of range.
    """

    percentile: float | None = None
    window: float = 30.0
    minimum_calls: int = 10
    refresh: float = 3.0
    min_delay: float = 0.001
    max_delay: float = 2.0

    def __post_init__(self) -> None:
        if self.percentile is not None:
            checks.ratio("percentile", self.percentile)
        checks.seconds("window", self.window)
        checks.count("minimum_calls", self.minimum_calls)
        checks.seconds("refresh", self.refresh)
        checks.seconds("min_delay", self.min_delay, zero=True)
        checks.seconds("max_delay", self.max_delay, infinite=True)
        checks.at_most("min_delay", self.min_delay, "max_delay", self.max_delay)


class HedgeDelay:
    """The delay of one hedge: `record(seconds, now)` counts a latency, `delay(now)` gives the seconds (inf: none)."""

    __slots__ = ("_delay", "_histogram", "_percentile", "_refresh_at", "record", "settings")

    def __init__(self, settings: Percentile, default: float) -> None:
        self.settings: Percentile = settings
        self._percentile = default if settings.percentile is None else settings.percentile
        self._histogram = Histogram(width=settings.window / 3)
        self.record: Callable[[float, float], None] = self._histogram.record  # bound: one call less for each answer
        self._delay = inf
        self._refresh_at: float | None = None

    def _after_fork(self) -> None:
        self._histogram._after_fork()

    def delay(self, now: float) -> float:
        if self._refresh_at is None:
            self._refresh_at = now + self.settings.refresh
        elif now >= self._refresh_at:
            self._refresh_at = now + self.settings.refresh
            self._delay = self._estimate(now)
        return self._delay

    def _estimate(self, now: float) -> float:
        settings = self.settings
        delay = self._histogram.quantile(self._percentile, now, minimum=settings.minimum_calls)
        return max(settings.min_delay, delay) if delay < settings.max_delay else inf
