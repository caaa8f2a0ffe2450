"""How long is an endpoint left alone, the first time, the second time, and after that?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ..retry.backoff import Recipe, equal_jitter, runs

Backoff: TypeAlias = float | Iterable[float] | Recipe | Callable[[], Iterator[float]]
"""The waits of one ejection: seconds, a list, one of `meshlib.backoff`, or what makes a new iterator."""

FINAGLE = equal_jitter(5.0, 300.0)
"""Its default wait: 5 s doubling to 300 s, half of it chance."""


class EjectionBackoff:
    """The waits of one illness; when a finite list is used up, `last` for ever (Finagle: 300 s)."""

    __slots__ = ("_backoff", "_last", "_waits")

    def __init__(self, backoff: Backoff, last: float = 300.0) -> None:
        self._backoff = runs("backoff", backoff)
        self._last = last
        self._waits: Iterator[float] | None = None  # made when first needed: most endpoints never fail

    def restart(self) -> None:
        self._waits = None

    def next(self) -> float:
        if self._waits is None:
            self._waits = self._backoff()
        return next(self._waits, self._last)
