"""Trip arguments: which trip a breaker's plain arguments mean, and which parts a trip has."""

from __future__ import annotations

from collections.abc import Iterable

from ..shell import checks
from .trip import Consecutive, Either, FailureRate, SlowCallRate, Trip, WindowedTrip

MINIMUM_CALLS = 20


def trip_parts(trip: Trip) -> tuple[Trip, ...]:
    """A trip taken apart into those that stand alone."""
    return tuple(part for inner in trip.trips for part in trip_parts(inner)) if isinstance(trip, Either) else (trip,)


def longest_run(trips: Iterable[Trip]) -> int:
    """Failures in a row, if one of `trips` counts them."""
    return next((trip.run for trip in trips if isinstance(trip, Consecutive)), 0)


def windowed(trips: Iterable[Trip], *kinds: type[WindowedTrip]) -> WindowedTrip | None:
    """The first of `trips` that is of one of `kinds`."""
    return next((trip for trip in trips if isinstance(trip, kinds) and isinstance(trip, WindowedTrip)), None)


def choose_trip(
    *,
    consecutive_failures: int | None = None,
    failure_rate: float | None = None,
    slow_call_rate: float | None = None,
    slow_call: float = 60.0,
    window: float | None = None,
    window_calls: int | None = None,
    minimum_calls: int = MINIMUM_CALLS,
) -> Trip:
    """The trip for plain arguments: any one of those given suffices; with none of them, 5 failures in a row.

    Raises ValueError, also for a window without a rate over it: it would mean nothing.
    """
    checks.count("minimum_calls", minimum_calls)
    trips: list[Trip] = []
    if consecutive_failures is not None:
        trips.append(Consecutive(checks.count("consecutive_failures", consecutive_failures)))
    if failure_rate is not None:
        trips.append(FailureRate(failure_rate, window=window, window_calls=window_calls, minimum_calls=minimum_calls))
    if slow_call_rate is not None:
        trips.append(
            SlowCallRate(
                slow_call_rate,
                slow_call=slow_call,
                window=window,
                window_calls=window_calls,
                minimum_calls=minimum_calls,
            )
        )
    if failure_rate is None and slow_call_rate is None:
        for field, value in (("window", window), ("window_calls", window_calls)):
            if value is not None:
                raise checks.refused(field, value, "a failure_rate over it")
        if minimum_calls != MINIMUM_CALLS:
            raise checks.refused("minimum_calls", minimum_calls, "a failure_rate over them")
    return Consecutive(5) if not trips else trips[0] if len(trips) == 1 else Either(*trips)


def check_trip(trip: Trip, window: float | None, minimum_calls: int, **limits: float | None) -> Trip:
    """A trip of the caller's own. Raises ValueError beside arguments that choose another."""
    checks.like("trip", trip, "record", "a trip, such as Consecutive(5)")
    given = [field for field, value in (*limits.items(), ("window", window)) if value is not None]
    given += ["minimum_calls"] if minimum_calls != MINIMUM_CALLS else []
    if given:
        raise checks.refused("trip", trip, f"no {', '.join(given)} beside it: a trip has its own")
    return trip
