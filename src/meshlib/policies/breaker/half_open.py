"""Half-open round: which calls may probe, and what their results decide.

Every probe is a *lease*. One that does not come back in time gives its slot to another: a lost probe costs one lease
and not the service. Its result counts all the same if it comes within the round; else a service whose answers take
longer than a lease would never close the breaker. Nothing here looks at a clock or takes a lock; the breaker does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ..shell import checks
from ..statistics.outcome_window import Totals
from .probes import Probes
from .trip import FailureRate, SlowCallRate, Trip

_MAX_OVERDUE = 1000  # overdue probes of one round; beyond that the oldest are taken for lost, so that memory is bounded


class HalfOpenRound:
    """The half-open rounds of one breaker, one after another, as `probes` says (see `Probes`).

    Without `by_rate` the number of good probes decides. With it, the rates among `trips` decide as soon as
    min(their `minimum_calls`, `calls`) probes are in (resilience4j).
    """

    __slots__ = ("_leases", "_overdue", "_rates", "bad", "calls", "concurrency", "enough", "results", "successes")

    def __init__(self, probes: Probes, trips: Sequence[Trip]) -> None:
        self.calls: int = probes.calls
        self.successes: int = probes.calls if probes.successes is None else probes.successes
        self.concurrency: int = probes.calls if probes.concurrency is None else probes.concurrency
        rates = [trip for trip in trips if isinstance(trip, FailureRate | SlowCallRate)] if probes.by_rate else []
        if probes.by_rate and not rates:
            raise checks.refused("by_rate", True, "a failure_rate or a slow_call_rate of the breaker")
        self.enough: int = min([self.calls, *(rate.minimum_calls for rate in rates)])
        self._rates = rates
        self._leases: dict[int, float] = {}
        self._overdue: dict[int, bool] = {}
        self.clear()

    def end(self) -> None:
        """The round is over: its permits are worth nothing any more. Its results can still be read."""
        self._leases.clear()
        self._overdue.clear()

    def clear(self) -> None:
        """A new round."""
        self.end()
        self.results: list[tuple[bool, float]] = []  # of each probe: whether it failed, and how long it took
        self.bad: int = 0

    @property
    def done(self) -> int:
        """How many probes of this round came back."""
        return len(self.results)

    def lend(self, permit: int, now: float, lease: float) -> bool:
        """Give a slot to `permit` for `lease` seconds; False without a free slot."""
        if self.full_until() > now:
            return False
        for late in [other for other, due in self._leases.copy().items() if now >= due]:
            self._overdue[late] = True
            self._leases.pop(late, None)
        while len(self._overdue) > _MAX_OVERDUE:
            self._overdue.pop(next(iter(self._overdue.copy())), None)
        self._leases[permit] = now + lease
        return True

    def full_until(self) -> float:
        """When the next slot is free at the latest: −inf while there is one."""
        out = len(self._leases)
        if out < self.concurrency and out + self.done < self.calls:
            return -inf
        return min(self._leases.copy().values(), default=-inf)

    def give_back(self, permit: int) -> bool:
        """True if `permit` was a probe of this round that is still out. Needs no lock."""
        # Both are asked: `lend` may be moving it from the first to the second in this very moment.
        in_time = self._leases.pop(permit, None) is not None
        return self._overdue.pop(permit, False) or in_time

    def record(self, failed: bool, took: float, slow_call: float) -> tuple[bool, str] | None:
        """Count the result of one probe. Returns the decision when there is one: whether to close, and the reason.

        A probe that took longer than `slow_call` is no success for a breaker that opens on slow calls.
        """
        self.results.append((failed, took))
        self.bad += failed or (took > slow_call and not self._rates)
        if self._rates:
            return self._by_rate()
        if self.bad > self.calls - self.successes:
            return False, f"{self.bad} of {self.done} probes failed"
        if self.done - self.bad >= self.successes:
            return True, f"{self.done - self.bad} of {self.done} probes succeeded"
        return None

    def _by_rate(self) -> tuple[bool, str] | None:
        if self.done < self.enough:
            return None
        for rate in self._rates:
            totals = Totals(self.done, sum(rate.bad(failed, took) for failed, took in self.results))
            if rate.exceeded(totals):
                return False, rate.describe(totals).replace("calls", "probes")
        return True, f"{self.done - self.bad} of {self.done} probes succeeded"
