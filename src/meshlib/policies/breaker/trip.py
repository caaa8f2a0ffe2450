"""When is it too much? Each trip hears every outcome and says when the breaker that owns it shall open."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from ..shell import checks
from ..statistics.outcome_window import CountWindow, TimeWindow, Totals
from ..statistics.sliding_counts import MOST


class Trip(Protocol):
    """What a breaker asks. `record` and `clear` are called under the breaker's lock.

    A success before `plain_until` that took no longer than `slow_call` can change nothing but a count: for it the
    breaker calls `step`, without the lock, and nothing else. The attributes are read anew after each `record`.
    """

    slow_call: float
    """Seconds above which a call is slow; inf: this trip does not mind."""

    plain_until: float
    """Monotonic seconds; −inf while every success is to be recorded."""

    step: Callable[[], object]
    """Counts one plain success."""

    quiet: bool
    """True while a success would change nothing at all."""

    why: str | None
    """Why it was too much when it last heard something; None: it was not."""

    def record(self, failed: bool, took: float, now: float) -> str | None:
        """Count any outcome. Returns `why`."""

    def clear(self) -> None:
        """Forget everything."""


class Consecutive:
    """Too much after `failures` failures in a row; one success starts afresh (Finagle, pybreaker, Envoy).

    Raises ValueError for values without sense.
    """

    slow_call = inf
    run: int
    why: str | None

    def __init__(self, failures: int = 5) -> None:
        self.failures = checks.count("failures", failures)
        self.step: Callable[[], object] = nothing
        self.clear()

    def record(self, failed: bool, took: float, now: float) -> str | None:
        if not failed:
            self.clear()
            return None
        self.run = run = self.run + 1
        if run == 1:
            self.quiet, self.plain_until = False, -inf
        if run >= self.failures:
            self.why = f"{run} failure{'' if run == 1 else 's'} in a row"
        return self.why

    def clear(self) -> None:
        self.run = 0
        self.quiet = True
        self.plain_until = inf
        self.why = None

    def __repr__(self) -> str:
        return f"Consecutive({self.failures})"


class WindowedTrip:
    """What the trips that look back over a window have in common; each adds what is bad, and which share is too much.

    The window is either the last `calls` calls, or the last `window` seconds (default 10) in `buckets` slices, 1000 at
    most: by default one a second (resilience4j), or 10 when `window` is no whole number of seconds (Hystrix, Polly).
    `aligned=False` begins a slice with its first call (Polly) instead of at a round number of the clock. Nothing is
    judged before the window holds `minimum_calls`, capped at `calls` as in resilience4j. Raises ValueError.
    """

    slow_call = inf
    quiet = False
    why: str | None
    _limit: float  # the share of bad calls that is too much, unless `too_much` says otherwise
    _says = ""

    def __init__(
        self, window: float | None, calls: int | None, minimum_calls: int, buckets: int | None, aligned: bool
    ) -> None:
        if window is not None and calls is not None:
            raise ValueError(f"window={window!r}, calls={calls!r}: expected one of the two")
        self.minimum_calls = checks.count("minimum_calls", minimum_calls)
        self.step: Callable[[], object]
        self._window: CountWindow | TimeWindow
        if calls is not None:
            self._window = CountWindow(checks.count("calls", calls))
            self.minimum_calls = min(minimum_calls, calls)
        else:
            seconds = checks.seconds("window", 10.0 if window is None else window)
            whole = seconds.is_integer() and seconds >= 2
            slices = (min(int(seconds), MOST) if whole else 10) if buckets is None else buckets
            self._window = TimeWindow(seconds, checks.count("buckets", slices, max_value=MOST), aligned)
        self.clear()

    def bad(self, failed: bool, took: float) -> bool:
        return failed

    def too_much(self, totals: Totals) -> bool:
        # Divided, not multiplied: 7 / 100 is the same float as the 0.07 that somebody wrote; 0.07 * 100 is not 7.
        return totals.bad > 0 and totals.bad / totals.calls >= self._limit

    def record(self, failed: bool, took: float, now: float) -> str | None:
        window = self._window
        calls, bad = window.record(self.bad(failed, took), now)
        enough = calls >= self.minimum_calls
        # A good call can only be too much when it is the one that makes the window large enough to be judged, or the
        # first after good ones have left it: at the turn of a slice.
        self.step = window.step
        self.plain_until = window.turns if enough or not bad else -inf
        self.why = None
        if enough and bad and self.too_much(totals := Totals(calls, bad)):
            self.why = self.says(totals)
        return self.why

    def clear(self) -> None:
        self._window.clear()
        self.step = self._window.step
        self.plain_until = self._window.turns
        self.why = None

    def totals(self, now: float) -> Totals:
        """What the window holds, be it enough to be judged or not."""
        return self._window.totals(now)

    def share(self, now: float) -> float:
        """The share of bad calls, 0–1; −1.0 below `minimum_calls`, as in resilience4j."""
        totals = self._window.totals(now)
        return totals.bad / totals.calls if totals.calls >= self.minimum_calls else -1.0

    def says(self, totals: Totals) -> str:
        return f"{totals.bad} of {totals.calls} calls {self._says}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._limit}, minimum_calls={self.minimum_calls})"


class FailureRate(WindowedTrip):
    """Too much when `rate` (0–1, inclusive) of the calls in the window failed. See `WindowedTrip` for the window.

    Raises ValueError for values without sense.
    """

    _says = "failed"

    def __init__(
        self,
        rate: float = 0.5,
        *,
        window: float | None = None,
        calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.rate = self._limit = checks.ratio("rate", rate)
        super().__init__(window, calls, minimum_calls, buckets, aligned)


class SlowCallRate(WindowedTrip):
    """Too much when `rate` of the calls in the window took longer than `slow_call` seconds, failed or not.

    Strictly longer, as in resilience4j. See `WindowedTrip` for the window. Raises ValueError for values without sense.
    """

    _says = "were slow"

    def __init__(
        self,
        rate: float = 1.0,
        *,
        slow_call: float = 60.0,
        window: float | None = None,
        calls: int | None = None,
        minimum_calls: int = 20,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.rate = self._limit = checks.ratio("rate", rate)
        self.slow_call = checks.seconds("slow_call", slow_call)
        super().__init__(window, calls, minimum_calls, buckets, aligned)

    def bad(self, failed: bool, took: float) -> bool:
        return took > self.slow_call


class FailureCount(WindowedTrip):
    """Too much when `failures` of the calls in the window failed, however many there were (failsafe's n of m).

    Raises ValueError for values without sense.
    """

    _says = "failed"

    def __init__(
        self,
        failures: int,
        *,
        window: float | None = None,
        calls: int | None = None,
        buckets: int | None = None,
        aligned: bool = True,
    ) -> None:
        self.failures = self._limit = checks.count("failures", failures)
        super().__init__(window, calls, failures, buckets, aligned)
        if calls is not None and failures > calls:
            raise ValueError(f"failures={failures!r}: expected at most calls={calls!r}, or it can never be reached")

    def too_much(self, totals: Totals) -> bool:
        return totals.bad >= self.failures

    def share(self, now: float) -> float:
        """The share of failures, 0–1; −1.0 while the window is empty. What is judged is their number."""
        totals = self._window.totals(now)
        return totals.bad / totals.calls if totals.calls else -1.0


class Either:
    """Too much as soon as any of `trips` says so; all of them hear every outcome.

    Raises ValueError for values without sense.
    """

    why: str | None

    def __init__(self, *trips: Trip) -> None:
        if not trips:
            raise ValueError("trips=(): expected at least one")
        for trip in trips:
            checks.like("trips", trip, "record", "trips, such as Consecutive(5)")
        self.trips = trips
        self.slow_call = min(trip.slow_call for trip in trips)
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
        why, quiet, until = None, True, inf
        steps: list[Callable[[], object]] = []
        for trip in self.trips:
            why = why or trip.why
            quiet = quiet and trip.quiet
            if trip.plain_until < until:
                until = trip.plain_until
            if trip.step is not nothing:
                steps.append(trip.step)
        self.why, self.quiet, self.plain_until = why, quiet, until
        if steps != self._steps or not steps:  # seldom: at the turn of a slice
            self._steps = steps
            self.step: Callable[[], object] = _both(*steps) if len(steps) > 1 else steps[0] if steps else nothing
        return why

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
