"""How long shall a retry wait? The usual answers, to be given to `Retry(backoff=…)`.

Each is a recipe: it makes the waits of one failing call when it is given the dice. A number is a constant wait, and
any sequence of seconds is taken as it stands (when it is used up, the retry gives up, as in Finagle).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from math import inf
from typing import TypeAlias

from . import _backoff, _check

Random: TypeAlias = _backoff.Random
Waits: TypeAlias = Callable[[Random], Iterator[float]]
_MOST = 10_000  # waits in a sequence: what is longer has no end


def constant(delay: float) -> Waits:
    """The same wait each time."""
    _check.seconds("delay", delay, zero=True)
    return lambda random: repeat(delay)


def linear(start: float, step: float, maximum: float = inf) -> Waits:
    """start, start + step, start + 2·step …, at most `maximum`."""
    _backoff.linear(start, step, maximum)
    return lambda random: _backoff.linear(start, step, maximum)


def exponential(start: float, factor: float = 2.0, maximum: float = inf) -> Waits:
    """start, start·factor, start·factor² …, at most `maximum`. No jitter: who failed together comes back together."""
    _backoff.exponential(start, factor, maximum)
    return lambda random: _backoff.exponential(start, factor, maximum)


def full_jitter(start: float, maximum: float) -> Waits:
    """Between 0 and start·2^n, at most `maximum` (AWS; Envoy with 0.025 and 0.25)."""
    _backoff.full_jittered(start, maximum, _never)
    return lambda random: _backoff.full_jittered(start, maximum, random)


def equal_jitter(start: float, maximum: float) -> Waits:
    """Half of each exponential wait is sure, the other half chance (Finagle's equalJittered)."""
    _backoff.equal_jittered(start, maximum, _never)
    return lambda random: _backoff.equal_jittered(start, maximum, random)


def decorrelated_jitter(start: float, maximum: float) -> Waits:
    """Between the last wait and three times that, at most `maximum` (Finagle's decorrelatedJittered)."""
    _backoff.decorrelated(start, maximum, _never)
    return lambda random: _backoff.decorrelated(start, maximum, random)


def recipe(field: str, value: float | Iterable[float] | Waits) -> Waits:
    """What `backoff=` was given, as a recipe. Raises ValueError for what is none."""
    if callable(value):
        return value
    if isinstance(value, Iterable):
        waits = tuple(
            _check.seconds(f"{field}[{n}]", delay, zero=True) for n, delay in enumerate(islice(value, _MOST + 1))
        )
        if len(waits) > _MOST:
            raise ValueError(f"{field}={value!r}: expected an end; give an endless series as a function of the dice")
        return lambda random: iter(waits)
    delay = _check.seconds(field, value, zero=True)
    return lambda random: repeat(delay)


def _never() -> float:
    return 0.0
