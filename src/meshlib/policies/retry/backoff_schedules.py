"""Backoff schedules: the arithmetic of the recipes, as endless iterators of seconds.

`random` is a uniform draw from [0, 1). Call the function again to start over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, sqrt, tanh
from typing import TypeAlias

from ..shell import checks

Random: TypeAlias = Callable[[], float]
Backoff: TypeAlias = Callable[[], Iterator[float]]  # what policies take: called once for each new run of waits


def constant_waits(delay: float) -> Iterator[float]:
    """The same wait for ever."""
    checks.seconds("delay", delay, zero=True)
    return linear_waits(delay, 0.0)


def linear_waits(start: float, step: float, max_delay: float = inf) -> Iterator[float]:
    """start, start + step, start + 2·step … but at most `max_delay`."""
    _bounds(start, max_delay, zero=True)
    checks.seconds("step", step, zero=True)
    return _endless(lambda n: min(max_delay, start + n * step))


def exponential_waits(start: float, factor: float = 2.0, max_delay: float = inf) -> Iterator[float]:
    """start, start·factor, start·factor² … but at most `max_delay`."""
    _bounds(start, max_delay, zero=True)
    checks.number("factor", factor, min_value=1.0)
    return _endless(lambda n: min(max_delay, start * _power(factor, n)) if start else 0.0)


def equal_jittered(start: float, max_delay: float, random: Random) -> Iterator[float]:
    """start, then between start·2^(k-1) and twice that for k = 1, 2 …; `max_delay` for ever once that is reached.

    After Finagle's Backoff.equalJittered: half of each wait is fixed, the other half is random.
    """
    _bounds(start, max_delay)
    return _equal_jittered(start, max_delay, random)


def _equal_jittered(start: float, max_delay: float, random: Random) -> Iterator[float]:
    delay, half = start, start
    while delay < max_delay:
        yield delay
        delay = half + random() * half if half < max_delay else max_delay
        half *= 2.0
    while True:
        yield max_delay


def decorrelated(start: float, max_delay: float, random: Random) -> Iterator[float]:
    """start, then between the last wait and three times that, but at most `max_delay` (after Finagle)."""
    _bounds(start, max_delay)
    return _decorrelated(start, max_delay, random)


def _decorrelated(delay: float, max_delay: float, random: Random) -> Iterator[float]:
    while True:
        yield delay
        delay += random() * (min(3.0 * delay, max_delay) - delay)


def exponential_jittered(start: float, max_delay: float, random: Random) -> Iterator[float]:
    """start, then a random share of the last wait times 2^attempt; `max_delay` for ever once that could reach it.

    After Finagle's exponentialJittered: each wait is drawn from the one before it, so a small draw makes the next ones
    small too.
    """
    _bounds(start, max_delay)
    return _exponential_jittered(start, max_delay, random)


def _exponential_jittered(delay: float, max_delay: float, random: Random) -> Iterator[float]:
    attempt = 1
    while delay < max_delay:
        yield delay
        high = delay * _power(2.0, attempt)
        delay = max_delay if high >= max_delay else random() * high
        attempt += 1
    while True:
        yield max_delay


def full_jittered(start: float, max_delay: float, random: Random) -> Iterator[float]:
    """Between 0 and start·2^n, but at most `max_delay` (the "full jitter" of Envoy and AWS)."""
    _bounds(start, max_delay)
    return _endless(lambda n: random() * min(max_delay, start * _power(2.0, n)))


def tower_waits(start: float, max_delay: float, jitter: float, random: Random) -> Iterator[float]:
    """start·2^n, at most `max_delay`, plus up to start·jitter (after tower's ExponentialBackoff)."""
    _bounds(start, max_delay)
    checks.ratio("jitter", jitter, zero=True, above_one=True)
    return _endless(lambda n: min(max_delay, start * _power(2.0, n)) + random() * start * jitter)


def uniform_waits(low: float, high: float, random: Random) -> Iterator[float]:
    """Anywhere between `low` and `high` (failsafe's random delay)."""
    checks.seconds("low", low, zero=True)
    checks.number("high", high, min_value=low)
    return _endless(lambda n: low + random() * (high - low))


def spread_waits(delays: Iterator[float], random: Random, share: float = 0.25, seconds: float = 0.0) -> Iterator[float]:
    """Each wait moved by at most `share` of itself and `seconds`, up or down, never below 0.

    A quarter is Polly's jitter for constant and linear waits; failsafe has either (jitter factor, jitter).
    """
    checks.ratio("share", share, zero=True)
    checks.seconds("seconds", seconds, zero=True)
    return (max(0.0, delay + (2.0 * random() - 1.0) * (delay * share + seconds)) for delay in delays)


def polly_exponential(delay: float, random: Random, max_delay: float = inf) -> Iterator[float]:
    """Polly v8's decorrelated exponential jitter: a smooth curve sampled at n + random, so that waits never cluster."""
    _bounds(delay, max_delay, zero=True)
    return _polly_exponential(delay, random, max_delay)


def _polly_exponential(delay: float, random: Random, max_delay: float) -> Iterator[float]:
    before = 0.0
    for n in range(1000):
        at = n + random()
        reached = 2.0**at * tanh(sqrt(4.0 * at))
        yield min(max_delay, (reached - before) / 1.4 * delay)
        before = reached
    while True:  # beyond what a float can hold
        yield max_delay if delay else 0.0


def resilience4j_exponential(start: float = 0.5, factor: float = 1.5, max_delay: float = inf) -> Iterator[float]:
    """start·factor^n with every step truncated to whole milliseconds, as resilience4j's IntervalFunction does."""
    _bounds(start, max_delay)
    checks.number("factor", factor, min_value=1.0)
    return _milliseconds(start, factor, max_delay)


def _milliseconds(start: float, factor: float, max_delay: float) -> Iterator[float]:
    delay = round(start * 1000)
    while True:
        yield min(max_delay, delay / 1000)
        delay = int(min(delay * factor, 2.0**53))


def resilience4j_randomized(delays: Iterator[float], random: Random, factor: float = 0.5) -> Iterator[float]:
    """Each wait between (1 - factor) and (1 + factor) of itself, in whole milliseconds, at least 1 (resilience4j)."""
    checks.ratio("factor", factor, zero=True)
    return (_randomized(round(delay * 1000), factor, random()) / 1000 for delay in delays)


def _randomized(delay: int, factor: float, draw: float) -> int:
    low, high = delay * (1.0 - factor), delay * (1.0 + factor)
    return int(max(1.0, low + draw * (high - low + 1.0)))


def waits_until(delays: Iterator[float], total: float) -> Iterator[float]:
    """`delays` until their sum reaches `total` seconds; the last one may exceed it (Finagle's takeUntil)."""
    checks.seconds("total", total, zero=True)
    return _until(delays, total)


def _until(delays: Iterator[float], total: float) -> Iterator[float]:
    waited = 0.0
    while waited < total:
        delay = next(delays, None)
        if delay is None:
            return
        waited += delay
        yield delay


def _endless(delay: Callable[[int], float]) -> Iterator[float]:
    n = 0
    while True:
        yield delay(n)
        n += 1


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return inf


def _bounds(start: float, max_delay: float, *, zero: bool = False) -> None:
    """With `zero` the start may be 0, and `max_delay` below the start (Polly)."""
    checks.seconds("start", start, zero=zero)
    if (
        isinstance(max_delay, bool)
        or not isinstance(max_delay, int | float)
        or not max_delay >= (0.0 if zero else start)
    ):
        wanted = "seconds, 0 or more" if zero else f"seconds, at least start={start!r}"
        raise ValueError(f"max_delay={max_delay!r}: expected {wanted}")
