"""Calls in flight: when they began, in slices of time, so that unusually long ones can be told from the rest."""

from __future__ import annotations

from math import inf

_SLICE = 0.1  # seconds
_TIMES = 3.0  # overdue is what takes so many times what is usual,
_LEAST = 1.0  # and so many seconds at least, however fast the others are;
_AT_FIRST = 10.0  # and so many, as long as less than so many good answers have come back
_ENOUGH = 10
_MEMORY = 0.01  # how much of what is usual one shorter answer replaces


class InFlight:
    """Which calls are overdue: older than 1 s and than three times what is usual; as long as that is not known, 10 s.

    What is usual rises at once to a longer answer and comes down by a hundredth of the way with each shorter one. A
    permit is the number of the slice in which its call began. Whoever owns it locks.
    """

    __slots__ = ("_began", "_number", "_origin", "_to_learn", "_usual", "turns")

    turns: float
    """When the current slice is over (monotonic seconds): then `turn` comes first."""

    def __init__(self) -> None:
        self._began: dict[int, int] = {0: 0}  # calls by the slice in which they began, oldest first
        self._origin = 0.0
        self._number = 0
        self._usual = _LEAST / _TIMES
        self._to_learn = _ENOUGH
        self.turns = -inf

    def begin(self, now: float) -> int:
        """One more, in the current slice: its permit."""
        number = self._number
        self._began[number] += 1
        return number

    def end(self, permit: int, now: float, good: bool) -> bool:
        """It is over; a `good` answer says how long one takes. False: it was overdue, and `turn` has counted it."""
        began = self._began
        if permit == self._number:
            began[permit] -= 1
            if good and (self._to_learn or self._usual > _LEAST / _TIMES):
                self._learn(permit, now)
            return True
        if good:
            self._learn(permit, now)
        left = began.get(permit, 0)
        if left > 1:
            began[permit] = left - 1
        else:
            began.pop(permit, None)
        return left > 0

    def _learn(self, permit: int, now: float) -> None:
        took = now - self._origin - permit * _SLICE  # at most a slice too much
        self._usual = max(took, self._usual + (took - self._usual) * _MEMORY, _LEAST / _TIMES)
        if self._to_learn:
            self._to_learn -= 1

    def turn(self, now: float) -> int:
        """Begin the slice of `now`. How many calls have become overdue: they are not counted as in flight any more."""
        if self.turns == -inf:
            self._origin = now
        number = self._number = int((now - self._origin) / _SLICE)
        self.turns = self._origin + (number + 1) * _SLICE
        patience = _AT_FIRST if self._to_learn else _TIMES * self._usual
        began, overdue = self._began, 0
        while began:
            oldest = next(iter(began))
            if began[oldest] > 0 and (number - oldest - 1) * _SLICE < patience:
                break
            overdue += max(0, began.pop(oldest))
        began.setdefault(number, 0)
        return overdue
