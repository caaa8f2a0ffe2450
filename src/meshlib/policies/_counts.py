"""Sliding sums: what was counted over the last seconds, in slices of the clock. Whoever owns one locks."""

from __future__ import annotations

from collections import deque
from math import floor, inf

from . import _check


class SlidingCounts:
    """Two counts over the last `window` seconds, in `slices` of the clock; one leaves when it is `slices` behind."""

    __slots__ = ("_first", "_past", "_second", "_turns", "_width", "slices")

    def __init__(self, window: float, slices: int) -> None:
        self._width = _check.seconds("window", window) / _check.count("slices", slices)
        self.slices = slices
        self._past: deque[tuple[int, int, int]] = deque([(0, 0, 0)])
        self._first = self._second = 0
        self._turns = -inf

    def add(self, now: float, first: int, second: int) -> None:
        if now >= self._turns:
            self._turn(now)
        number, a, b = self._past[-1]
        self._past[-1] = (number, a + first, b + second)
        self._first += first
        self._second += second

    def totals(self, now: float) -> tuple[int, int]:
        if now >= self._turns:
            self._turn(now)
        return self._first, self._second

    def _turn(self, now: float) -> None:
        number = floor(now / self._width)
        self._turns = (number + 1) * self._width
        while self._past and self._past[0][0] <= number - self.slices:
            _, first, second = self._past.popleft()
            self._first -= first
            self._second -= second
        if not self._past or self._past[-1][0] < number:
            self._past.append((number, 0, 0))
