"""Outcome window: how many calls there were lately, and how many of them were bad.

A good call is one step of an `itertools.count`: exact under threads without a lock, on free-threaded builds too.
A bad call or a new slice is recorded under the lock of the policy that owns the window.
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
    """When a slice ends or leaves (monotonic seconds). Never: this window is not made of time."""

    step: Callable[[], int]
    """Counts one call that was not bad. Before `turns` it needs no lock."""

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.turns = inf
        self.clear()

    def clear(self) -> None:
        self._numbers = count()
        self.step = self._numbers.__next__
        self._bad: deque[int] = deque()

    def record(self, bad: bool, now: float) -> tuple[int, int]:
        """Count any call. What the window then holds, as `totals`: the step says itself how many there were."""
        number = self.step()
        if bad:
            self._bad.append(number)
        return self._held(number + 1)

    def totals(self, now: float) -> Totals:
        return Totals(*self._held(value(self._numbers)))

    def _held(self, seen: int) -> tuple[int, int]:
        bad, size = self._bad, self.size
        while bad and bad[0] < seen - size:
            bad.popleft()
        return seen if seen < size else size, len(bad)


class TimeWindow:
    """The calls of the last `seconds`, in `buckets` equal slices.

    `aligned` slices are slices of the clock, after resilience4j's TIME_BASED window and Hystrix: slice number k begins
    at k · seconds / buckets and leaves when `now` is `buckets` slices ahead of it, so that a call counts for
    `buckets - 1` to `buckets` slices. Otherwise a slice begins with its first call and leaves `seconds` later (Polly).
    """

    __slots__ = (
        "_bad", "_calls", "_ends", "_leaves", "_past", "_past_totals", "_width", "aligned", "buckets", "seconds",
        "step", "turns",
    )  # fmt: skip

    turns: float
    step: Callable[[], int]

    def __init__(self, seconds: float, buckets: int, aligned: bool = True) -> None:
        self.seconds: float = seconds
        self.buckets: int = buckets
        self.aligned: bool = aligned
        self._width = seconds / buckets
        self.clear()

    def clear(self) -> None:
        self._past: deque[tuple[float, count[int], int]] = deque()  # when it leaves, calls, bad
        self._past_totals = Totals(0, 0)
        self._ends = self._leaves = self.turns = -inf
        self._begin()

    def record(self, bad: bool, now: float) -> tuple[int, int]:
        """Count any call. What the window then holds, as `totals`: the step says itself how many there were."""
        if now >= self.turns:
            self._turn(now)
        number = self.step()
        self._bad += bad
        calls, past = self._past_totals
        return calls + number + 1, past + self._bad

    def totals(self, now: float) -> Totals:
        if now >= self.turns:
            self._turn(now)
        past = self._past_totals
        return Totals(past.calls + value(self._calls), past.bad + self._bad)

    # A `now` from before the current slice (read before another thread began it) belongs to the current one.
    def _turn(self, now: float) -> None:
        if now >= self._ends:
            self._past.append((self._leaves, self._calls, self._bad))
            self._next(now)
        while self._past and self._past[0][0] <= now:
            self._past.popleft()
        # Read anew, and not when each slice ended: a thread overtaken between its look at `turns` and its step may
        # have counted a call there since.
        self._past_totals = Totals(sum(value(calls) for _, calls, _ in self._past), sum(bad for *_, bad in self._past))
        self.turns = min(self._ends, self._past[0][0]) if self._past else self._ends

    def _next(self, now: float) -> None:
        if self.aligned:
            number = floor(now / self._width)
            if (number + 1) * self._width <= now:  # the division was rounded down past a boundary
                number += 1
            self._ends = (number + 1) * self._width
            self._leaves = (number + self.buckets) * self._width
        else:
            self._ends = now + self._width
            self._leaves = now + self.seconds
        self._begin()

    def _begin(self) -> None:
        self._calls = count()
        self.step = self._calls.__next__
        self._bad = 0


def value(numbers: count[int]) -> int:
    """How many steps a count has taken."""
    # The only way to look without taking a step that works on every supported version.
    return int(repr(numbers)[6:-1])
