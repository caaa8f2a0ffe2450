"""Probes: how a breaker that was open decides to close. The round itself is in `half_open`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from ..shell import checks
from .state import CLOSED, OPEN, State, checked_state


@dataclass(frozen=True, slots=True)
class Probes:
    """A half-open round admits `calls` probes, at most `concurrency` at once (None: all of them).

    `successes` of them close the breaker (None: all), and it opens again as soon as that cannot be reached any more
    (failsafe; one probe is Hystrix and Polly). With `by_rate` the breaker's own rates decide, as in resilience4j.

    A probe without a result after `lease` seconds (None: the cooldown; inf, as in resilience4j and failsafe: never)
    gives its slot to another call, and its result still counts while the round lasts. A round without a decision after
    `max_duration` seconds (None: no limit) ends in the state `then`, OPEN or CLOSED.

    With `automatic`, reading `state` or `metrics` makes the moves that are due by time alone; without it a call makes
    them (resilience4j's automaticTransitionFromOpenToHalfOpenEnabled), or `tick`. Raises ValueError.
    """

    calls: int = 1
    _: KW_ONLY
    successes: int | None = None
    concurrency: int | None = None
    by_rate: bool = False
    lease: float | None = None
    max_duration: float | None = None
    then: State = OPEN
    automatic: bool = False

    def __post_init__(self) -> None:
        checks.count("calls", self.calls)
        if self.successes is not None:
            checks.at_most("successes", checks.count("successes", self.successes), "calls", self.calls)
        if self.concurrency is not None:
            checks.count("concurrency", self.concurrency)
        if self.lease is not None:
            checks.seconds("lease", self.lease, infinite=True)
        if self.max_duration is not None:
            checks.seconds("max_duration", self.max_duration)
        object.__setattr__(self, "then", checked_state("then", self.then, OPEN, CLOSED))


def checked_probes(probes: int | Probes) -> Probes:
    """A breaker's `probes`: a `Probes`, or so many calls of which all must succeed."""
    if isinstance(probes, Probes):
        return probes
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        raise checks.refused("probes", probes, "a whole number of at least 1, or Probes(…)")
    return Probes(probes)
