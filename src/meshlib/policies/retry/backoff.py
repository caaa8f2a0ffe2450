"""Backoff recipes: the usual waits between attempts, for `Retry(backoff=…)` and the failure accrual.

A recipe is called for the waits of one run, with a random source (uniform draws from [0, 1)) or without, and returns an
iterator of seconds: `equal_jitter(5.0, 300.0)(lambda: 0.5)`. A number is a constant wait, and any sequence of seconds
is taken as it is (when it is used up, the retry gives up, as in Finagle). Public as `meshlib.backoff`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat
from math import inf
from typing import Protocol, TypeAlias

from ...runtime import SYSTEM
from ..shell import checks
from . import backoff_schedules

Random: TypeAlias = backoff_schedules.Random
Waits: TypeAlias = Callable[[Random], Iterator[float]]
_MAX_WAITS = 10_000  # in a sequence: a longer one is taken for an endless one


class Recipe(Protocol):
    """Makes the waits of one run, in seconds; without `random` it uses the system's random source."""

    def __call__(self, random: Random = ..., /) -> Iterator[float]: ...


def constant(delay: float) -> Recipe:
    """The same wait each time."""
    checks.seconds("delay", delay, zero=True)
    return _recipe(lambda random: repeat(delay))


def linear(start: float, step: float, max_delay: float = inf) -> Recipe:
    """start, start + step, start + 2·step …, at most `max_delay`."""
    return _recipe(lambda random: backoff_schedules.linear_waits(start, step, max_delay))


def exponential(start: float, factor: float = 2.0, max_delay: float = inf) -> Recipe:
    """start, start·factor, start·factor² …, at most `max_delay`. No jitter: calls that fail together retry together."""
    return _recipe(lambda random: backoff_schedules.exponential_waits(start, factor, max_delay))


def uniform(low: float, high: float) -> Recipe:
    """Anywhere between `low` and `high` (failsafe's random delay)."""
    return _recipe(lambda random: backoff_schedules.uniform_waits(low, high, random))


def full_jitter(start: float, max_delay: float) -> Recipe:
    """Between 0 and start·2^n, at most `max_delay` (AWS; Envoy with 0.025 and 0.25)."""
    return _recipe(lambda random: backoff_schedules.full_jittered(start, max_delay, random))


def equal_jitter(start: float, max_delay: float) -> Recipe:
    """Half of each exponential wait is fixed, the other half random (Finagle's equalJittered)."""
    return _recipe(lambda random: backoff_schedules.equal_jittered(start, max_delay, random))


def decorrelated_jitter(start: float, max_delay: float) -> Recipe:
    """Between the last wait and three times that, at most `max_delay` (Finagle's decorrelatedJittered)."""
    return _recipe(lambda random: backoff_schedules.decorrelated(start, max_delay, random))


def exponential_jitter(start: float, max_delay: float) -> Recipe:
    """A random share of 2^n times the last wait, `max_delay` once reached (Finagle's exponentialJittered)."""
    return _recipe(lambda random: backoff_schedules.exponential_jittered(start, max_delay, random))


def tower(start: float, max_delay: float, jitter: float = 0.0) -> Recipe:
    """start·2^n, at most `max_delay`, plus up to start·jitter on top (tower's ExponentialBackoff)."""
    return _recipe(lambda random: backoff_schedules.tower_waits(start, max_delay, jitter, random))


def polly(delay: float = 2.0, max_delay: float = inf) -> Recipe:
    """Polly's exponential waits with jitter: a smooth curve sampled at n + chance, so that waits never cluster."""
    return _recipe(lambda random: backoff_schedules.polly_exponential(delay, random, max_delay))


def resilience4j(
    initial: float = 0.5, factor: float = 1.5, max_delay: float = inf, *, random_share: float = 0.0
) -> Recipe:
    """resilience4j's exponential backoff, in whole milliseconds, at most `max_delay` after the jitter.

    `random_share` (0–1) is its randomizationFactor, 0.5 by its own default; with `factor=1` that is its ofRandomized.
    """
    checks.ratio("random_share", random_share, zero=True)

    def waits(random: Random) -> Iterator[float]:
        delays = backoff_schedules.resilience4j_exponential(initial, factor)
        if random_share:
            delays = backoff_schedules.resilience4j_randomized(delays, random, random_share)
        return (min(max_delay, delay) for delay in delays)

    backoff_schedules.resilience4j_exponential(initial, factor, max_delay)
    return _recipe(waits)


def spread(
    waits: float | Iterable[float] | Waits, share: float = 0.25, *, seconds: float = 0.0, max_delay: float = inf
) -> Recipe:
    """Each of `waits` moved up or down at random: by at most `share` of itself and `seconds`; at most `max_delay`.

    A quarter is Polly's UseJitter for constant and linear waits; failsafe's jitter factor is `share`, its jitter
    `seconds`.
    """
    inner = recipe("waits", waits)
    return _recipe(
        lambda random: (
            min(max_delay, delay) for delay in backoff_schedules.spread_waits(inner(random), random, share, seconds)
        )
    )


def take(waits: float | Iterable[float] | Waits, number: int) -> Recipe:
    """The first `number` of `waits`; then there are no more."""
    inner = recipe("waits", waits)
    checks.count("number", number, min_value=0)
    return _recipe(lambda random: islice(inner(random), number))


def take_until(waits: float | Iterable[float] | Waits, total: float) -> Recipe:
    """`waits` until their sum reaches `total` seconds; the last one may exceed it (Finagle's takeUntil)."""
    inner = recipe("waits", waits)
    return _recipe(lambda random: backoff_schedules.waits_until(inner(random), total))


def concat(*waits: float | Iterable[float] | Waits) -> Recipe:
    """One after the other, each until it is used up: `concat(take(0.1, 3), exponential(1.0))`."""
    parts = [recipe(f"waits[{n}]", part) for n, part in enumerate(waits)]
    return _recipe(lambda random: chain.from_iterable(part(random) for part in parts))


def recipe(field: str, value: float | Iterable[float] | Waits) -> Waits:
    """The argument `field` as a recipe. Raises ValueError for a value that is no backoff."""
    if callable(value):
        return value
    if isinstance(value, Iterable):
        waits = tuple(
            checks.seconds(f"{field}[{n}]", delay, zero=True) for n, delay in enumerate(islice(value, _MAX_WAITS + 1))
        )
        if len(waits) > _MAX_WAITS:
            raise checks.refused(
                field, value, f"at most {_MAX_WAITS} waits; an endless series is a function of a random source"
            )
        return lambda random: iter(waits)
    delay = checks.seconds(field, value, zero=True)
    return lambda random: repeat(delay)


def runs(
    field: str, value: float | Iterable[float] | Recipe | Callable[[], Iterator[float]]
) -> backoff_schedules.Backoff:
    """The same for callers without a random source: a function is called for each new run as it is."""
    if callable(value):
        return value
    made = recipe(field, value)
    return lambda: made(SYSTEM.random)


def _recipe(waits: Waits) -> Recipe:
    waits(_zero)  # bad arguments raise here, and not after the first failure

    def made(random: Random = SYSTEM.random, /) -> Iterator[float]:
        return waits(random)

    return made


def _zero() -> float:
    return 0.0
