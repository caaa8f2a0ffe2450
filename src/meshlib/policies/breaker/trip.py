"""Trips: when a breaker opens. A trip counts every outcome and returns the reason once there is one."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from ..shell import checks
from ..statistics.outcome_window import CountWindow, TimeWindow, Totals
from ..statistics.sliding_counts import MOST


class Trip(Protocol):
    """When a breaker opens. It calls `record` and `clear` under its lock.

    A success before `plain_until` that took no longer than `slow_call` can change nothing but a count: for it the
    breaker calls `step`, without the lock, and nothing else. The attributes are read anew after each `record`.
    """

    slow_call: float
    """Seconds above which a call is slow; inf: slow calls do not matter."""

    plain_until: float
    """Monotonic seconds; −inf while every success is to be recorded."""

    step: Callable[[], object]
    """Counts one plain success."""

    quiet: bool
    """True while a success would change nothing at all."""

    reason: str | None
    """Why the breaker should open, as of the last `record`; None: it should not."""

    def record(self, failed: bool, took: float, now: float) -> str | None:
        """Count any outcome. Returns `reason`."""

    def clear(self) -> None:
        """Forget everything."""


class Consecutive:
    """Opens after `consecutive_failures` failures in a row; one success ends the run (Finagle, pybreaker, Envoy).

    Raises ValueError.
    """

    slow_call = inf
    run: int
    reason: str | None

    def __init__(self, consecutive_failures: int = 5) -> None:
        self.consecutive_failures: int = checks.count("consecutive_failures", consecutive_failures)
        self.step: Callable[[], object] = nothing
        self.clear()

    def record(self, failed: bool, took: float, now: float) -> str | None:
        if not failed:
            self.clear()
            return None
        self.run = run = self.run + 1
        if run == 1:
            self.quiet: bool = False
            self.plain_until: float = -inf
        if run >= self.consecutive_failures:
            self.reason = f"{run} failure{'' if run == 1 else 's'} in a row"
        return self.reason

    def clear(self) -> None:
        self.run = 0
        self.quiet = True
        self.plain_until = inf
        self.reason = None

    def __repr__(self) -> str:
        return f"Consecutive({self.consecutive_failures})"


class WindowedTrip:
    """A trip over a window; subclasses say which calls are bad, and which share of them opens the breaker.

    The window is either the last `window_calls` calls, or the last `window` seconds (default 10) in `buckets` slices,
    1000 at most: one a second (resilience4j), or 10 when `window` is no whole number of seconds (Hystrix, Polly).
    `aligned=False` begins a slice with its first call (Polly) instead of at a round number of the clock. Nothing is
    decided before the window holds `minimum_calls`, capped at `window_calls` as in resilience4j. Raises ValueError.
    """

    slow_call = inf
    quiet = False
    reason: str | None
    _limit: float  # the share of bad calls that opens it, unless `exceeded` is overridden
    _verb = ""

    def __init__(
        self, window: float | None, window_calls: int | None, minimum_calls: int, buckets: int | None, aligned: bool
    ) -> None:
        if window is not None and window_calls is not None:
            raise ValueError(f"window={window!r}, window_calls={window_calls!r}: expected one of the two")
        self.minimum_calls: int = checks.count("minimum_calls", minimum_calls)
        self.step: Callable[[], object]
        self._window: CountWindow | TimeWindow
        if window_calls is not None:
            self._window = CountWindow(checks.count("window_calls", window_calls))
            self.minimum_calls = min(minimum_calls, window_calls)
        else:
            seconds = checks.seconds("window", 10.0 if window is None else window)
            whole = seconds.is_integer() and seconds >= 2
            slices = (min(int(seconds), MOST) if whole else 10) if buckets is None else buckets
            self._window = TimeWindow(seconds, checks.count("buckets", slices, max_value=MOST), aligned)
        self.clear()

    def bad(self, failed: bool, took: float) -> bool:
        return failed

    def exceeded(self, totals: Totals) -> bool:
        # Divided, not multiplied: 7 / 100 is the same float as the literal 0.07; 0.07 * 100 is not 7.
        return totals.bad > 0 and totals.bad / totals.calls >= self._limit

    def record(self, failed: bool, took: float, now: float) -> str | None:
        window = self._window
        calls, bad = window.record(self.bad(failed, took), now)
        enough = calls >= self.minimum_calls
        # A good call can only open it when it is the one that makes the window reach the minimum, or the
        # first after good ones have left it: at the turn of a slice.
        self.step = window.step
        self.plain_until: float = window.turns if enough or not bad else -inf
        self.reason = None
        if enough and bad and self.exceeded(totals := Totals(calls, bad)):
            self.reason = self.describe(totals)
        return self.reason

    def clear(self) -> None:
        self._window.clear()
        self.step = self._window.step
        self.plain_until = self._window.turns
        self.reason = None

    def totals(self, now: float) -> Totals:
        """What the window holds, below the minimum of calls too."""
        return self._window.totals(now)

    def share(self, now: float) -> float:
        """The share of bad calls, 0–1; −1.0 below `minimum_calls`, as in resilience4j."""
        totals = self._window.totals(now)
        return totals.bad / totals.calls if totals.calls >= self.minimum_calls else -1.0

    def describe(self, totals: Totals) -> str:
        return f"{totals.bad} of {totals.calls} calls {self._verb}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._limit}, minimum_calls={self.minimum_calls})"


class FailureRate(WindowedTrip):
    """Opens when `failure_rate` (0–1, inclusive) of the calls in the window failed. See `WindowedTrip` for the window.

    Raises ValueError.
    """

    _verb = "failed"

    def __init__(
        self,
        failure_rate: float = 0.5,
        *,
        window: float | None = None,
        window_calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.failure_rate: float
        self.failure_rate = self._limit = checks.ratio("failure_rate", failure_rate)
        super().__init__(window, window_calls, minimum_calls, buckets, aligned)


class SlowCallRate(WindowedTrip):
    """Opens when `slow_call_rate` (0–1) of the calls in the window took longer than `slow_call` seconds, failed or not.

    Strictly longer, as in resilience4j. See `WindowedTrip` for the window. Raises ValueError.
    """

    _verb = "were slow"

    def __init__(
        self,
        slow_call_rate: float = 1.0,
        *,
        slow_call: float = 60.0,
        window: float | None = None,
        window_calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.slow_call_rate: float
        self.slow_call_rate = self._limit = checks.ratio("slow_call_rate", slow_call_rate)
        self.slow_call: float = checks.seconds("slow_call", slow_call)
        super().__init__(window, window_calls, minimum_calls, buckets, aligned)

    def bad(self, failed: bool, took: float) -> bool:
        return took > self.slow_call


class FailureCount(WindowedTrip):
    """Opens when `max_failures` of the calls in the window failed, however many there were (failsafe's n of m).

    Raises ValueError.
    """

    _verb = "failed"

    def __init__(
        self,
        max_failures: int,
        *,
        window: float | None = None,
        window_calls: int | None = None,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.max_failures: int
        self.max_failures = self._limit = checks.count("max_failures", max_failures)
        super().__init__(window, window_calls, max_failures, buckets, aligned)
        if window_calls is not None:
            checks.at_most("max_failures", max_failures, "window_calls", window_calls)

    def exceeded(self, totals: Totals) -> bool:
        return totals.bad >= self.max_failures

    def share(self, now: float) -> float:
        """The share of failures, 0–1; −1.0 while the window is empty. Their number opens it, not this."""
        totals = self._window.totals(now)
        return totals.bad / totals.calls if totals.calls else -1.0


class Either:
    """Opens as soon as any of `trips` has a reason; all of them count every outcome. Raises ValueError."""

    reason: str | None

    def __init__(self, *trips: Trip) -> None:
        if not trips:
            raise ValueError("trips=(): expected at least one")
        for trip in trips:
            checks.like("trips", trip, "record", "trips, such as Consecutive(5)")
        self.trips = trips
        self.slow_call: float = min(trip.slow_call for trip in trips)
        self._steps: list[Callable[[], object]] = []
        self._look()

    def record(self, failed: bool, took: float, now: float) -> str | None:
        for trip in self.trips:
            trip.record(failed, took, now)
        return self._look()

    def clear(self) -> None:
        for trip in self.trips:
            trip.clear()
        self._look()

    def _look(self) -> str | None:
        reason, quiet, until = None, True, inf
        steps: list[Callable[[], object]] = []
        for trip in self.trips:
            reason = reason or trip.reason
            quiet = quiet and trip.quiet
            if trip.plain_until < until:
                until = trip.plain_until
            if trip.step is not nothing:
                steps.append(trip.step)
        self.reason = reason
        self.quiet: bool = quiet
        self.plain_until: float = until
        if steps != self._steps or not steps:  # seldom: at the turn of a slice
            self._steps = steps
            self.step: Callable[[], object] = _both(*steps) if len(steps) > 1 else steps[0] if steps else nothing
        return reason

    def __repr__(self) -> str:
        return f"Either({', '.join(map(repr, self.trips))})"


def _both(first: Callable[[], object], *others: Callable[[], object]) -> Callable[[], None]:
    second = others[0] if len(others) == 1 else _both(*others)

    def step() -> None:
        first()
        second()

    return step


def nothing() -> None:
    pass
