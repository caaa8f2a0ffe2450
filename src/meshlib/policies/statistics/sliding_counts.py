"""Sliding counts: two sums over the last seconds, in buckets of the clock. The owner locks."""

from __future__ import annotations

from collections import deque
from math import floor, inf

from ..shell import checks

MOST = 1000  # buckets of a window: each one costs memory, and time at its turn


class SlidingCounts:
    """Two counts over the last `window` seconds, in `buckets` of the clock; one leaves when it is `buckets` behind."""

    __slots__ = ("_first", "_number", "_past", "_second", "_width", "buckets", "first", "second", "turns")

    def __init__(self, window: float, buckets: int) -> None:
        self._width = checks.seconds("window", window) / checks.count("buckets", buckets, max_value=MOST)
        self.buckets: int = buckets
        self.first: int = 0  # in the whole window, as of the last call
        self.second: int = 0
        self.turns: float = -inf  # when the current slice is over
        self._past: deque[tuple[int, int, int]] = deque()
        self._number = 0
        self._first = self._second = 0  # when the current slice began: what the window had seen in all

    def add(self, now: float, first: int, second: int) -> None:
        if now >= self.turns:
            self.turn(now)
        self.first += first
        self.second += second

    def totals(self, now: float) -> tuple[int, int]:
        if now >= self.turns:
            self.turn(now)
        return self.first, self.second

    def turn(self, now: float) -> None:
        """Begin the slice of `now`, and forget what is too old."""
        number = floor(now / self._width)
        if self.turns > -inf:
            self._past.append((self._number, self.first - self._first, self.second - self._second))
        while self._past and self._past[0][0] <= number - self.buckets:
            _, first, second = self._past.popleft()
            self.first -= first
            self.second -= second
        self._number, self._first, self._second = number, self.first, self.second
        self.turns = (number + 1) * self._width
