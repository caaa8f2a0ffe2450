"""How long does a breaker stay open?"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeAlias

from ..shell import checks

LONGEST = 300.0  # seconds: Finagle's longest backoff
FALLBACK = 30.0  # seconds: for a lease or a cooldown where the user's own function gave none


class TripContext(int):
    """What a cooldown function is given: the number of trips since the breaker was last closed, this one included.

    It is an `int`, counting from 1, and knows besides what Polly tells its BreakDurationGenerator: `failure_rate` (−1.0
    when nothing is judged by a rate), `failures`, and `half_opens`, the number of half-open rounds since the last close
    (from 0). `random` is a draw from [0, 1) of the breaker's own dice.
    """

    failure_rate: float
    failures: int
    half_opens: int
    random: float

    def __new__(
        cls, trips: int, failure_rate: float = -1.0, failures: int = 0, half_opens: int = 0, random: float = 0.0
    ) -> TripContext:
        opening = super().__new__(cls, trips)
        opening.failure_rate = failure_rate
        opening.failures = failures
        opening.half_opens = half_opens
        opening.random = random
        return opening


Cooldown: TypeAlias = Callable[[TripContext], float]


def pause(cooldown: float | Cooldown, factor: float, longest: float, jitter: float) -> Cooldown:
    """What a breaker's plain arguments ask for: `cooldown` itself if it is a function, else one that grows."""
    if not callable(cooldown):
        return growing(cooldown, factor, longest, jitter)
    if (factor, longest, jitter) != (1.0, LONGEST, 0.0):
        raise ValueError(
            f"cooldown={cooldown!r}: expected no cooldown_factor, cooldown_max or cooldown_jitter beside a function, "
            "which says itself how long"
        )
    return cooldown


def growing(cooldown: float, factor: float, longest: float, jitter: float) -> Cooldown:
    """`cooldown` · `factor` ^ (trips − 1), at most `longest` (whose default gives way to a longer `cooldown`).

    The last `jitter` share of it is drawn at random, so 0.5 is Finagle's equal jitter and 1.0 full jitter.
    """
    checks.seconds("cooldown", cooldown)
    checks.number("cooldown_factor", factor, min_value=1.0)
    checks.ratio("cooldown_jitter", jitter, zero=True)
    most = max(checks.seconds("cooldown_max", longest), cooldown if longest == LONGEST else 0.0)
    checks.at_most("cooldown", cooldown, "cooldown_max", most)

    def seconds(opening: TripContext) -> float:
        return min(cooldown * _power(factor, opening - 1), most) * (1 - jitter * opening.random)

    return seconds


def interval(
    initial: float = 0.5, factor: float = 1.5, *, spread: float = 0.0, longest: float = inf, whole: bool = True
) -> Cooldown:
    """resilience4j's IntervalFunction as a cooldown, to the millisecond: `CircuitBreaker(cooldown=interval(5.0, 1.5))`.

    The n-th trip waits `initial` · `factor` ^ (n − 1) seconds, at most `longest`. With `whole`, each step is cut to
    whole milliseconds: 5, 7.5, 11.25, 16.875, 25.312 s. `spread` (0–1) is its randomizationFactor: the wait v is drawn
    from v·(1 − spread) to v·(1 + spread) plus one millisecond. Raises ValueError.
    """
    checks.seconds("initial", initial)
    checks.number("factor", factor, min_value=1.0)
    checks.ratio("spread", spread, zero=True)
    checks.seconds("longest", longest, infinite=True)

    def seconds(opening: TripContext) -> float:
        wait = initial * 1000
        for _ in range(opening - 1 if factor > 1 else 0):
            wait = float(int(wait * factor)) if whole else wait * factor
            if wait >= longest * 1000 or wait > 1e15:
                break
        wait = min(wait, longest * 1000)
        if spread:
            low, high = wait * (1 - spread), wait * (1 + spread)
            wait = low + opening.random * (high - low + 1)
            wait = float(int(wait)) if whole else wait
        return wait / 1000

    return seconds


def checked_cooldown(cooldown: Cooldown, opening: TripContext) -> float:
    """The seconds that a user's function gave; inf is allowed (until `reset`). Raises ValueError for anything else."""
    return checks.seconds(f"cooldown({int(opening)})", cooldown(opening), zero=True, infinite=True)


def _power(factor: float, exponent: int) -> float:
    try:
        return factor**exponent
    except OverflowError:  # after days of an outage
        return inf
