"""The trips of one breaker: chosen by its plain arguments, taken apart, looked up by kind."""

from __future__ import annotations

from collections.abc import Iterable

from ..shell import checks
from ..statistics.sliding_counts import MOST
from .trip import Consecutive, Either, FailureRate, SlowCallRate, Trip, WindowedTrip


def trip_parts(trip: Trip) -> tuple[Trip, ...]:
    """A trip taken apart into those that stand alone."""
    return tuple(part for inner in trip.trips for part in trip_parts(inner)) if isinstance(trip, Either) else (trip,)


def longest_run(trips: Iterable[Trip]) -> int:
    """Failures in a row, where somebody counts them."""
    return next((trip.run for trip in trips if isinstance(trip, Consecutive)), 0)


def windowed(trips: Iterable[Trip], *kinds: type[WindowedTrip]) -> WindowedTrip | None:
    """The first of `trips` that is of one of `kinds`."""
    return next((trip for trip in trips if isinstance(trip, kinds) and isinstance(trip, WindowedTrip)), None)


def choose_trip(
    limits: tuple[int | None, float | None, float | None],
    slow_call: float,
    window: float | None,
    window_calls: int | None,
    minimum_calls: int,
    buckets: int | None,
) -> Trip:
    """The trip that a breaker's plain arguments ask for; with none of them, 5 failures in a row.

    `limits` are how many failures in a row, which share of failures, and which share of slow calls are too much.
    """
    consecutive_failures, failure_rate, slow_call_rate = limits
    if window is not None and window_calls is not None:
        raise ValueError(f"window={window!r}, window_calls={window_calls!r}: expected one of the two")
    checks.count("minimum_calls", minimum_calls)
    checks.seconds("slow_call", slow_call)
    if window is not None:
        checks.seconds("window", window)
    if window_calls is not None:
        checks.count("window_calls", window_calls)
    if buckets is not None:
        checks.count("buckets", buckets, max_value=MOST)
    trips: list[Trip] = []
    if consecutive_failures is not None:
        trips.append(Consecutive(checks.count("consecutive_failures", consecutive_failures)))
    if failure_rate is not None:
        rate = checks.ratio("failure_rate", failure_rate)
        trips.append(FailureRate(rate, window=window, calls=window_calls, minimum_calls=minimum_calls, buckets=buckets))
    if slow_call_rate is not None:
        rate = checks.ratio("slow_call_rate", slow_call_rate)
        trips.append(
            SlowCallRate(
                rate,
                slow_call=slow_call,
                window=window,
                calls=window_calls,
                minimum_calls=minimum_calls,
                buckets=buckets,
            )
        )
    return Consecutive(5) if not trips else trips[0] if len(trips) == 1 else Either(*trips)
