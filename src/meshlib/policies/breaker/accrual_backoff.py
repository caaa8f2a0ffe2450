"""Ejection backoff: how long an endpoint is out, the first time, the second time, and after that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ..retry.backoff import Recipe, equal_jitter, runs

Backoff: TypeAlias = float | Iterable[float] | Recipe | Callable[[], Iterator[float]]
"""The waits of one ejection: seconds, a list, one of `meshlib.backoff`, or what makes a new iterator."""

FINAGLE = equal_jitter(5.0, 300.0)
"""Its default wait: 5 s doubling to 300 s, half of it random."""


class EjectionBackoff:
    """The waits of one ejection; when a finite list is used up, `max_wait` each time (Finagle: 300 s)."""

    __slots__ = ("_backoff", "_max_wait", "_waits")

    def __init__(self, backoff: Backoff, max_wait: float = 300.0) -> None:
        self._backoff = runs("backoff", backoff)
        self._max_wait = max_wait
        self._waits: Iterator[float] | None = None  # made when first needed: most endpoints never fail

    def restart(self) -> None:
        self._waits = None

    def next(self) -> float:
        if self._waits is None:
            self._waits = self._backoff()
        return next(self._waits, self._max_wait)
