"""Sliding windows over outcomes: how many calls there were lately, and how many of them were bad.

A plain call is one step of an `itertools.count`: exact under threads without a lock, on free-threaded builds too.
Whatever is remarkable (a bad call, a new bucket) is recorded under the lock of the policy that owns the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from math import floor, inf
from typing import NamedTuple


class Totals(NamedTuple):
    """What a window holds."""

    calls: int
    bad: int


class CountWindow:
    """The last `size` calls, after resilience4j's COUNT_BASED window (a ring of outcomes with running totals).

    Every call gets a number; only the bad ones remember theirs.
    """

    __slots__ = ("_bad", "_numbers", "size", "step", "turns")

    turns: float
    """When the current bucket is over (monotonic seconds). Never: this window is not made of time."""

    step: Callable[[], int]
    """Counts one call that was not bad. Before `turns` it needs no lock."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.turns = inf
        self.clear()

    def clear(self) -> None:
        self._numbers = count()
        self.step = self._numbers.__next__
        self._bad: deque[int] = deque()

    def record(self, bad: bool, now: float) -> None:
        number = self.step()
        if bad:
            self._bad.append(number)

    def totals(self, now: float) -> Totals:
        seen = _value(self._numbers)
        while self._bad and self._bad[0] < seen - self.size:
            self._bad.popleft()
        return Totals(min(seen, self.size), len(self._bad))


class TimeWindow:
    """The calls of the last `seconds`, in `buckets` equal slices of the clock.

    After resilience4j's TIME_BASED window: a slice leaves as soon as its number is `buckets` behind that of `now`, so
    a call counts for `buckets - 1` to `buckets` slices. Hystrix and Polly do the same with 10 slices.
    """

    __slots__ = ("_bad", "_calls", "_past", "_slice", "_width", "buckets", "seconds", "step", "turns")

    turns: float
    step: Callable[[], int]

    def __init__(self, seconds: float, buckets: int) -> None:
        self.seconds = seconds
        self.buckets = buckets
        self._width = seconds / buckets
        self.clear()

    def clear(self) -> None:
        self._past: deque[tuple[int, int, int]] = deque()  # slice number, calls, bad
        self._slice: int | None = None
        self.turns = -inf
        self._begin()

    def record(self, bad: bool, now: float) -> None:
        self._turn(now)
        self.step()
        self._bad += bad

    def totals(self, now: float) -> Totals:
        self._turn(now)
        calls, bad = _value(self._calls), self._bad
        for _, past_calls, past_bad in self._past:
            calls += past_calls
            bad += past_bad
        return Totals(calls, bad)

    def _turn(self, now: float) -> None:
        number = floor(now / self._width)
        if self._slice is not None:
            if number <= self._slice:  # less: `now` was read before another thread began the current slice
                return
            self._past.append((self._slice, _value(self._calls), self._bad))
        while self._past and self._past[0][0] <= number - self.buckets:
            self._past.popleft()
        self._slice = number
        self._begin()
        self.turns = (number + 1) * self._width

    def _begin(self) -> None:
        self._calls = count()
        self.step = self._calls.__next__
        self._bad = 0


def _value(numbers: count[int]) -> int:
    # The only way to look at a count without taking a step that works on every supported version.
    return int(repr(numbers)[6:-1])
