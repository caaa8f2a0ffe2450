"""Limit curves: the functions by which limits grow and shrink, and the protocol of all limits."""

from __future__ import annotations

from collections.abc import Callable
from math import log10, sqrt
from typing import Protocol, TypeAlias

from ..shell import checks

Curve: TypeAlias = int | Callable[[int], int]
"""A number, or a function of the current limit."""

Step: TypeAlias = Callable[[float], float]
"""From the current limit to the next one."""


class Limit(Protocol):
    """What an `AdaptiveLimit` asks. Called under its lock, one call at a time."""

    @property
    def limit(self) -> int:
        """How many calls may be under way at once."""

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        """Record a call that ended at `now` after `rtt` seconds; returns the new limit."""


def log10_root(limit: int) -> int:
    """The whole part of log10, at least 1: Netflix's Log10RootFunction with baseline 0."""
    return max(1, int(log10(limit))) if limit > 0 else 1


def square_root(min_value: int) -> Callable[[int], int]:
    """The whole part of the square root, at least `min_value`: Netflix's SquareRootFunction."""
    return lambda limit: max(min_value, int(sqrt(limit)))


def steady(initial: int) -> int:
    """So many calls at once are not too many as long as none is dropped: 20, the least of AIMD and Gradient2.

    Where the shortest round trip is the measure, each longer one looks like a queue: calls that take 0 to 100 ms,
    whatever the load, bring a limit down to 6. One that begins below 20 goes as low as it likes: 0.
    """
    return 20 if initial >= 20 else 0


def in_nanos(seconds: float) -> int:
    return round(seconds * 1e9)


def curve(field: str, value: Curve | None, default: Callable[[int], int] | None) -> Callable[[int], int]:
    if value is None and default is not None:
        return default
    if callable(value):
        return value
    number = checks.count(field, value, min_value=0)
    return lambda limit: number


def limit_bounds(initial: int, min_limit: int, max_limit: int) -> tuple[int, int]:
    """The checked bounds of a limit that begins at `initial`: below them it may (as Netflix's may), not above."""
    checks.count("min_limit", min_limit, min_value=0)  # 0 as in Netflix; a limit that falls to 0 stays there
    checks.count("max_limit", max_limit)
    checks.at_most("min_limit", min_limit, "max_limit", max_limit)
    checks.at_most("initial", initial, "max_limit", max_limit)
    return min_limit, max_limit
