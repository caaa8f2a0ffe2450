"""Half-open: which calls may probe, and what do those that came back say?

Every probe is a *lease*. One that does not come back in time gives its place to another: a lost probe costs one lease
and not the service. Its answer counts all the same if it comes within the round; else a service whose answers take
longer than a lease would never be heard. Nothing here looks at a clock or takes a lock; the breaker does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ..shell import checks
from ..statistics.outcome_window import Totals
from .trip import FailureRate, SlowCallRate, Trip

_REMEMBERED = 1000  # overdue probes of one round; beyond that the oldest are taken for lost, so that memory is bounded


class Probes:
    """One half-open round after another of at most `number` probes, `concurrency` at once.

    Without `judges`, `successes` good ones close the breaker, and it opens again as soon as that can no longer be
    reached (failsafe; one of one is Hystrix and Polly). With `judges`, the rates among them decide once min(their
    minimum, `number`) are in (resilience4j).
    """

    __slots__ = ("_leases", "_overdue", "_rates", "bad", "concurrency", "enough", "heard", "number", "successes")

    def __init__(
        self, number: int, successes: int | None, concurrency: int | None, judges: Sequence[Trip] | None = None
    ) -> None:
        self.number = checks.count("probes", number)
        self.successes = number if successes is None else checks.count("probe_successes", successes)
        self.concurrency = number if concurrency is None else checks.count("probe_concurrency", concurrency)
        if self.successes > number:
            raise ValueError(f"probe_successes={successes!r}: expected at most probes={number!r}")
        rates = [
            make_classifier
            for make_classifier in judges or ()
            if isinstance(make_classifier, FailureRate | SlowCallRate)
        ]
        if judges and not rates:
            raise ValueError("probe_by_rate=True: expected a failure_rate or a slow_call_rate to judge the probes by")
        self.enough = min([number, *(rate.minimum_calls for rate in rates)])
        self._rates = rates
        self._leases: dict[int, float] = {}
        self._overdue: dict[int, bool] = {}
        self.clear()

    def end(self) -> None:
        """The round is over: its permits are worth nothing any more. What it heard can still be read."""
        self._leases.clear()
        self._overdue.clear()

    def clear(self) -> None:
        """A new round."""
        self.end()
        self.heard: list[tuple[bool, float]] = []  # of each probe: whether it failed, and how long it took
        self.bad = 0

    @property
    def done(self) -> int:
        """How many probes of this round came back."""
        return len(self.heard)

    def lend(self, permit: int, now: float, lease: float) -> bool:
        """Give a place to `permit` for `lease` seconds, if there is one."""
        if self.shut() > now:
            return False
        for late in [other for other, due in self._leases.copy().items() if now >= due]:
            self._overdue[late] = True
            self._leases.pop(late, None)
        while len(self._overdue) > _REMEMBERED:
            self._overdue.pop(next(iter(self._overdue.copy())), None)
        self._leases[permit] = now + lease
        return True

    def shut(self) -> float:
        """Until when no further probe can go, unless one comes back before: −inf while there is a place."""
        out = len(self._leases)
        if out < self.concurrency and out + self.done < self.number:
            return -inf
        return min(self._leases.copy().values(), default=-inf)

    def give_back(self, permit: int) -> bool:
        """True if `permit` was a probe of this round that is still waited for. Needs no lock."""
        # Both are asked: `lend` may be moving it from the first to the second in this very moment.
        in_time = self._leases.pop(permit, None) is not None
        return self._overdue.pop(permit, False) or in_time

    def hear(self, failed: bool, took: float, slow_call: float) -> tuple[bool, str] | None:
        """Count one probe that came back. Returns the verdict when there is one: whether all is well, and why.

        One that took longer than `slow_call` is no good answer for a breaker that opens on slow calls.
        """
        self.heard.append((failed, took))
        self.bad += failed or (took > slow_call and not self._rates)
        if self._rates:
            return self._by_rate()
        if self.bad > self.number - self.successes:
            return False, f"{self.bad} of {self.done} probes failed"
        if self.done - self.bad >= self.successes:
            return True, f"{self.done - self.bad} of {self.done} probes succeeded"
        return None

    def _by_rate(self) -> tuple[bool, str] | None:
        if self.done < self.enough:
            return None
        for rate in self._rates:
            totals = Totals(self.done, sum(rate.bad(failed, took) for failed, took in self.heard))
            if rate.too_much(totals):
                return False, rate.says(totals).replace("calls", "probes")
        return True, f"{self.done - self.bad} of {self.done} probes succeeded"
