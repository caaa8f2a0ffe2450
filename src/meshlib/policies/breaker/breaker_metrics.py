"""How a breaker looks from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ..statistics.outcome_window import Totals
from .cooldown import TripContext
from .half_open import Probes
from .state import HALF_OPEN, State
from .trip import FailureCount, FailureRate, SlowCallRate, Trip, WindowedTrip
from .trip_arguments import longest_run, windowed


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """A breaker at one moment.

    `calls`, `failures` and `slow_calls` are what its window holds, and during half-open, or open after it, what the
    probes of the round said. A rate is −1.0 while there are fewer than the minimum of calls, or nothing is judged by
    it. `rejected` counts all refusals, `rejected_lately` those since its window was last emptied (resilience4j's
    notPermittedCalls). `trips` counts how often it opened, `retry_after` is seconds until the next probe, 0.0 if none
    is waited for.
    """

    state: State
    calls: int
    failures: int
    slow_calls: int
    failure_rate: float
    slow_call_rate: float
    consecutive_failures: int
    rejected: int
    rejected_lately: int
    trips: int
    retry_after: float


def look(
    state: State,
    trips: Sequence[Trip],
    probes: Probes,
    now: float,
    shut: float,
    rejected: int,
    older: int,
    opened: int,
) -> BreakerMetrics:
    """The metrics of a breaker that is shut until `shut`, of its `rejected` refusals, `older` are of older windows."""
    failed = windowed(trips, FailureRate, FailureCount)
    slow = windowed(trips, SlowCallRate)
    held = _held(state, trips, probes, now)
    return BreakerMetrics(
        state=state,
        calls=held.calls,
        failures=held.bad,
        slow_calls=_totals(slow, probes, now).bad if slow else 0,
        failure_rate=_share(failed, probes, now) if failed else -1.0,
        slow_call_rate=_share(slow, probes, now) if slow else -1.0,
        consecutive_failures=longest_run(trips),
        rejected=rejected,
        rejected_lately=rejected - older,
        trips=opened,
        retry_after=max(0.0, shut - now) if shut < inf else 0.0,
    )


def opening(
    state: State, trips: Sequence[Trip], probes: Probes, now: float, number: int, half_opens: int, random: float
) -> TripContext:
    """What the cooldown function is told at trip `number`."""
    held = _held(state, trips, probes, now)
    return TripContext(number, held.bad / held.calls if held.calls else -1.0, held.bad, half_opens, random)


# A round of probes begins with an empty window, and is heard by none: until the next one, its probes are the window.
def _totals(rate: WindowedTrip, probes: Probes, now: float) -> Totals:
    if not probes.heard:
        return rate.totals(now)
    return Totals(probes.done, sum(rate.bad(failed, took) for failed, took in probes.heard))


def _share(rate: WindowedTrip, probes: Probes, now: float) -> float:
    if not probes.heard:
        return rate.share(now)
    totals = _totals(rate, probes, now)
    return totals.bad / totals.calls if totals.calls >= probes.enough else -1.0


def _held(state: State, trips: Sequence[Trip], probes: Probes, now: float) -> Totals:
    if state is HALF_OPEN or probes.heard:
        return Totals(probes.done, probes.bad)
    failed = windowed(trips, FailureRate, FailureCount)
    if failed is not None:
        return failed.totals(now)
    slow = windowed(trips, SlowCallRate)
    return Totals(slow.totals(now).calls if slow else longest_run(trips), longest_run(trips))
