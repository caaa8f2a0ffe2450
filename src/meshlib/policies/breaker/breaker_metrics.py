"""Breaker metrics: a breaker at one moment, for a live view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ..statistics.outcome_window import Totals
from .cooldown import TripContext
from .half_open import HalfOpenRound
from .state import HALF_OPEN, State
from .trip import FailureCount, FailureRate, SlowCallRate, Trip, WindowedTrip
from .trip_arguments import longest_run, windowed


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """A breaker at one moment.

    `calls`, `failures` and `slow_calls` are those of its window, and during half-open, or open after it, those of the
    round of probes. A rate is −1.0 below the minimum of calls, or without a trip for it. `rejected` counts all
    rejections, `rejected_lately` those since the window was last emptied (resilience4j's notPermittedCalls). `trips`
    counts how often it opened; `retry_after` is the seconds until the next probe, 0.0 if none is due.
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


def breaker_metrics(
    state: State,
    trips: Sequence[Trip],
    probes: HalfOpenRound,
    now: float,
    refuses_until: float,
    rejected: int,
    rejected_before: int,
    opened: int,
) -> BreakerMetrics:
    """The metrics of a breaker; of its `rejected` calls, `rejected_before` came before its window was last emptied."""
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
        rejected_lately=rejected - rejected_before,
        trips=opened,
        retry_after=max(0.0, refuses_until - now) if refuses_until < inf else 0.0,
    )


def trip_context(
    state: State, trips: Sequence[Trip], probes: HalfOpenRound, now: float, number: int, half_opens: int, random: float
) -> TripContext:
    """What the cooldown function gets at trip `number`."""
    held = _held(state, trips, probes, now)
    return TripContext(number, held.bad / held.calls if held.calls else -1.0, held.bad, half_opens, random)


# A round of probes begins with an empty window and adds nothing to it: until the next one, its probes are the window.
def _totals(rate: WindowedTrip, probes: HalfOpenRound, now: float) -> Totals:
    if not probes.results:
        return rate.totals(now)
    return Totals(probes.done, sum(rate.bad(failed, took) for failed, took in probes.results))


def _share(rate: WindowedTrip, probes: HalfOpenRound, now: float) -> float:
    if not probes.results:
        return rate.share(now)
    totals = _totals(rate, probes, now)
    return totals.bad / totals.calls if totals.calls >= probes.enough else -1.0


def _held(state: State, trips: Sequence[Trip], probes: HalfOpenRound, now: float) -> Totals:
    if state is HALF_OPEN or probes.results:
        return Totals(probes.done, probes.bad)
    failed = windowed(trips, FailureRate, FailureCount)
    if failed is not None:
        return failed.totals(now)
    slow = windowed(trips, SlowCallRate)
    return Totals(slow.totals(now).calls if slow else longest_run(trips), longest_run(trips))
