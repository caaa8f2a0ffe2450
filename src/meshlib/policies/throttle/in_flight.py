"""In flight: counts the calls under way by when they began, to find those that take unusually long."""

from __future__ import annotations

from math import inf

_BUCKET = 0.1  # seconds
_TIMES = 3.0  # overdue is what takes so many times what is usual,
_MIN_AGE = 1.0  # and so many seconds at least, however fast the others are;
_FIRST_AGE = 10.0  # and so many, as long as less than so many good answers have come back
_ENOUGH = 10
_MEMORY = 0.01  # how much of what is usual one shorter answer replaces


class InFlight:
    """Which calls are overdue: older than 1 s and than three times what is usual; as long as that is not known, 10 s.

    What is usual rises at once to a longer answer and comes down by a hundredth of the way with each shorter one. A
    permit is the number of the bucket in which its call began. Not thread-safe: the throttle locks.
    """

    __slots__ = ("_began", "_number", "_origin", "_samples_missing", "_usual", "turns")

    turns: float
    """When the current bucket is over (monotonic seconds): then `turn` comes first."""

    def __init__(self) -> None:
        self._began: dict[int, int] = {0: 0}  # calls by the bucket in which they began, oldest first
        self._origin = 0.0
        self._number = 0
        self._usual = _MIN_AGE / _TIMES
        self._samples_missing = _ENOUGH
        self.turns = -inf

    def begin(self, now: float) -> int:
        """One more, in the current bucket: its permit."""
        number = self._number
        self._began[number] += 1
        return number

    def end(self, permit: int, now: float, good: bool) -> bool:
        """One call is over; a `good` answer is a sample of the usual time. False: `turn` has counted it as overdue."""
        began = self._began
        if permit == self._number:
            began[permit] -= 1
            if good and (self._samples_missing or self._usual > _MIN_AGE / _TIMES):
                self._record(permit, now)
            return True
        if good:
            self._record(permit, now)
        left = began.get(permit, 0)
        if left > 1:
            began[permit] = left - 1
        else:
            began.pop(permit, None)
        return left > 0

    def _record(self, permit: int, now: float) -> None:
        took = now - self._origin - permit * _BUCKET  # at most a bucket too much
        self._usual = max(took, self._usual + (took - self._usual) * _MEMORY, _MIN_AGE / _TIMES)
        if self._samples_missing:
            self._samples_missing -= 1

    def forget_all(self) -> None:
        """None is under way."""
        self._began = {self._number: 0}

    def turn(self, now: float) -> int:
        """Begin the bucket of `now`. How many calls have become overdue: they are not counted as in flight any more."""
        if self.turns == -inf:
            self._origin = now
        number = self._number = int((now - self._origin) / _BUCKET)
        self.turns = self._origin + (number + 1) * _BUCKET
        overdue_after = _FIRST_AGE if self._samples_missing else _TIMES * self._usual
        began, overdue = self._began, 0
        while began:
            oldest = next(iter(began))
            if began[oldest] > 0 and (number - oldest - 1) * _BUCKET < overdue_after:
                break
            overdue += max(0, began.pop(oldest))
        began.setdefault(number, 0)
        return overdue
