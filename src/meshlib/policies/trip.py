"""When is it too much? Each trip hears every outcome and says when the breaker that owns it shall open."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from . import _check
from ._window import CountWindow, TimeWindow, Totals


class Trip(Protocol):
    """What a breaker asks. `record`, `clear` and `totals` are called under the breaker's lock.

    A success before `plain_until` that took no longer than `slow_call` can change nothing but a count: for it the
    breaker calls `step`, without the lock, and nothing else.
    """

    @property
    def plain_until(self) -> float:
        """Monotonic seconds; −inf while every success is to be recorded."""

    @property
    def step(self) -> Callable[[], object]:
        """Counts one plain success."""

    @property
    def slow_call(self) -> float:
        """Seconds above which a call is slow; inf: this trip does not mind."""

    @property
    def quiet(self) -> bool:
        """True while a success would change nothing at all."""

    def record(self, failed: bool, took: float, now: float) -> str | None:
        """Count any outcome. Returns why it is too much now, or None."""

    def clear(self) -> None:
        """Forget everything."""

    def totals(self, now: float) -> Totals | None:
        """What its window holds, if it has one and it holds enough calls to be judged."""


class Consecutive:
    """Too much after `failures` failures in a row; one success starts afresh (Finagle, pybreaker, Envoy)."""

    slow_call = inf

    def __init__(self, failures: int = 5) -> None:
        self.failures = _check.count("failures", failures)
        self.step = _nothing
        self.run = 0
        self.plain_until = inf

    @property
    def quiet(self) -> bool:
        return self.run == 0

    def record(self, failed: bool, took: float, now: float) -> str | None:
        self.run = self.run + 1 if failed else 0
        self.plain_until = -inf if failed else inf
        return f"{self.run} failures in a row" if self.run >= self.failures else None

    def clear(self) -> None:
        self.run = 0
        self.plain_until = inf

    def totals(self, now: float) -> Totals | None:
        return None

    def __repr__(self) -> str:
        return f"Consecutive({self.failures})"


class FailureRate:
    """Too much when `rate` (0–1, inclusive) of the calls in the window failed, once it holds `minimum_calls`.

    The window is either the last `window` seconds in `buckets` slices, or the last `calls` calls. `buckets` is by
    default one a second (resilience4j), or 10 when `window` is no whole number of seconds (Hystrix, Polly).
    `minimum_calls` is capped at `calls`, as in resilience4j. Raises ValueError.
    """

    slow_call = inf
    quiet = False
    _what = "failed"

    def __init__(
        self,
        rate: float = 0.5,
        *,
        window: float | None = None,
        calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
    ) -> None:
        self.rate = _check.ratio("rate", rate)
        self.minimum_calls = _check.count("minimum_calls", minimum_calls)
        if window is not None and calls is not None:
            raise ValueError(
                f"window={window!r}, calls={calls!r}: expected one of the two, seconds or a number of calls"
            )
        self._window: CountWindow | TimeWindow
        if calls is not None:
            self._window = CountWindow(_check.count("calls", calls))
            self.minimum_calls = min(self.minimum_calls, calls)
        else:
            seconds = _check.seconds("window", 10.0 if window is None else window)
            whole = seconds.is_integer() and seconds >= 2
            slices = _check.count("buckets", (int(seconds) if whole else 10) if buckets is None else buckets)
            self._window = TimeWindow(seconds, slices)
        self.clear()

    def record(self, failed: bool, took: float, now: float) -> str | None:
        self._window.record(self._bad(failed, took), now)
        totals = self._window.totals(now)
        enough = totals.calls >= self.minimum_calls
        # A good call can only be too much when it is the one that makes the window large enough to be judged, or the
        # first after good ones have left it.
        self.step = self._window.step
        self.plain_until = self._window.turns if enough or not totals.bad else -inf
        return f"{totals.bad} of {totals.calls} calls {self._what}" if enough and self._too_much(totals) else None

    def clear(self) -> None:
        self._window.clear()
        self.step = self._window.step
        self.plain_until = self._window.turns

    def totals(self, now: float) -> Totals | None:
        totals = self._window.totals(now)
        return totals if totals.calls >= self.minimum_calls else None

    def _bad(self, failed: bool, took: float) -> bool:
        return failed

    def _too_much(self, totals: Totals) -> bool:
        return totals.bad > 0 and totals.bad >= self.rate * totals.calls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rate}, minimum_calls={self.minimum_calls})"


class SlowCallRate(FailureRate):
    """Too much when `rate` of the calls in the window took longer than `slow_call` seconds, failed or not."""

    _what = "were slow"

    def __init__(
        self,
        rate: float = 1.0,
        *,
        slow_call: float = 60.0,
        window: float | None = None,
        calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
    ) -> None:
        super().__init__(rate, window=window, calls=calls, minimum_calls=minimum_calls, buckets=buckets)
        self.slow_call = _check.seconds("slow_call", slow_call)

    def _bad(self, failed: bool, took: float) -> bool:
        return took > self.slow_call


class FailureCount(FailureRate):
    """Too much when `failures` of the calls in the window failed, however many there were (failsafe's n of m)."""

    def __init__(
        self, failures: int, *, window: float | None = None, calls: int | None = None, buckets: int | None = None
    ) -> None:
        self.failures = _check.count("failures", failures)
        if calls is not None and failures > calls:
            raise ValueError(f"failures={failures!r}: expected at most calls={calls!r}, or it can never be reached")
        super().__init__(window=window, calls=calls, minimum_calls=failures, buckets=buckets)

    def _too_much(self, totals: Totals) -> bool:
        return totals.bad >= self.failures


class Either:
    """Too much as soon as any of `trips` says so; all of them hear every outcome."""

    def __init__(self, *trips: Trip) -> None:
        if not trips:
            raise ValueError("trips=(): expected at least one")
        self.trips = trips
        self.slow_call = min(trip.slow_call for trip in trips)
        self._look()

    @property
    def quiet(self) -> bool:
        return all(trip.quiet for trip in self.trips)

    def step(self) -> None:
        for step in self._steps:
            step()

    def record(self, failed: bool, took: float, now: float) -> str | None:
        reasons = [trip.record(failed, took, now) for trip in self.trips]
        self._look()
        return next((reason for reason in reasons if reason), None)

    def clear(self) -> None:
        for trip in self.trips:
            trip.clear()
        self._look()

    def totals(self, now: float) -> Totals | None:
        return next((totals for trip in self.trips if (totals := trip.totals(now)) is not None), None)

    def _look(self) -> None:
        self._steps = [trip.step for trip in self.trips]
        self.plain_until = min(trip.plain_until for trip in self.trips)

    def __repr__(self) -> str:
        return f"Either({', '.join(map(repr, self.trips))})"


def _nothing() -> None:
    pass
