"""Cooldowns: how long a breaker stays open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from math import inf
from typing import TypeAlias

from ..shell import checks

MAX_COOLDOWN = 300.0  # seconds: Finagle's longest backoff
FALLBACK = 30.0  # seconds: for a lease or a cooldown where the caller's function gave none


class TripContext(int):
    """What a cooldown function gets: the number of trips since the breaker was last closed, this one included.

    It is an `int`, counting from 1, and has besides what Polly's BreakDurationGenerator gets: `failure_rate` (−1.0
    without a rate), `failures`, and `half_opens`, the number of half-open rounds since the last close (from 0).
    `random` is a draw from [0, 1) of the breaker's own random source.
    """

    failure_rate: float
    failures: int
    half_opens: int
    random: float

    def __new__(
        cls, trips: int, failure_rate: float = -1.0, failures: int = 0, half_opens: int = 0, random: float = 0.0
    ) -> TripContext:
        trip = super().__new__(cls, trips)
        trip.failure_rate = failure_rate
        trip.failures = failures
        trip.half_opens = half_opens
        trip.random = random
        return trip


CooldownFunction: TypeAlias = Callable[[TripContext], float]
"""The seconds that a breaker stays open, from 0 to inf (inf: until `reset`)."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """`seconds` for the first trip, times `factor` for each further one without a close in between.

    It never exceeds `max_cooldown` seconds, whose default gives way to a longer `seconds`. `jitter` (0–1) is the share
    of it that is drawn at random, once per trip: 0.5 is Finagle's equal jitter, 1.0 full jitter. Raises ValueError.
    """

    seconds: float
    _: KW_ONLY
    factor: float = 1.0
    max_cooldown: float = MAX_COOLDOWN
    jitter: float = 0.0

    def __post_init__(self) -> None:
        checks.seconds("seconds", self.seconds)
        checks.number("factor", self.factor, min_value=1.0)
        checks.ratio("jitter", self.jitter, zero=True)
        checks.seconds("max_cooldown", self.max_cooldown)
        if self.max_cooldown == MAX_COOLDOWN:
            object.__setattr__(self, "max_cooldown", max(self.seconds, MAX_COOLDOWN))
        checks.at_most("seconds", self.seconds, "max_cooldown", self.max_cooldown)

    def __call__(self, trip: TripContext) -> float:
        """min(`seconds` · `factor` ^ (trips − 1), `max_cooldown`) · (1 − `jitter` · random)."""
        longest = min(self.seconds * _power(self.factor, trip - 1), self.max_cooldown)
        return longest * (1 - self.jitter * trip.random)


def cooldown_function(cooldown: float | CooldownFunction) -> CooldownFunction:
    """A breaker's `cooldown` as a function: a `Cooldown`, the caller's own function, or so many seconds each time."""
    if isinstance(cooldown, type):
        raise checks.refused("cooldown", cooldown, "seconds, a Cooldown(…) or a function of a TripContext")
    if callable(cooldown):
        return checks.function("cooldown", cooldown, "a TripContext")
    return Cooldown(checks.seconds("cooldown", cooldown))


def interval(
    initial: float = 0.5, factor: float = 1.5, *, spread: float = 0.0, max_cooldown: float = inf, whole: bool = True
) -> CooldownFunction:
    """resilience4j's IntervalFunction as a cooldown, to the millisecond: `CircuitBreaker(cooldown=interval(5.0, 1.5))`.

    The n-th trip waits `initial` · `factor` ^ (n − 1) seconds, at most `max_cooldown`. With `whole`, each step is cut
    to whole milliseconds: 5, 7.5, 11.25, 16.875, 25.312 s. `spread` (0–1) is its randomizationFactor: the wait v is
    drawn from v·(1 − spread) to v·(1 + spread) plus one millisecond. Raises ValueError.
    """
    checks.seconds("initial", initial)
    checks.number("factor", factor, min_value=1.0)
    checks.ratio("spread", spread, zero=True)
    checks.seconds("max_cooldown", max_cooldown, infinite=True)

    def seconds(trip: TripContext) -> float:
        wait = initial * 1000
        for _ in range(trip - 1 if factor > 1 else 0):
            wait = float(int(wait * factor)) if whole else wait * factor
            if wait >= max_cooldown * 1000 or wait > 1e15:
                break
        wait = min(wait, max_cooldown * 1000)
        if spread:
            low, high = wait * (1 - spread), wait * (1 + spread)
            wait = low + trip.random * (high - low + 1)
            wait = float(int(wait)) if whole else wait
        return wait / 1000

    return seconds


def checked_cooldown(cooldown: CooldownFunction, trip: TripContext) -> float:
    """The seconds that `cooldown` gives for `trip`, inf included. Raises ValueError for anything else."""
    return checks.seconds(f"cooldown({int(trip)})", cooldown(trip), zero=True, infinite=True)


def _power(factor: float, exponent: int) -> float:
    try:
        return factor**exponent
    except OverflowError:  # after days of an outage
        return inf
