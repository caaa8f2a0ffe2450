"""How long may it last? A time limit that is moved with every exchange, but seldom costs a timer.

To arm and cancel a timer for each exchange costs about as much as all the rest of what we do for it. So one timer per
connection is armed for the earliest limit that was ever set and, when it fires, looks what the limit is by then: an
exchange that ends in time only writes down a number. A limit that comes sooner than the timer does arm a new one.
"""

from __future__ import annotations

import asyncio
from math import inf


class ExchangeTimer:
    """Something on an event loop that is told `expired()` when what it does has lasted too long."""

    __slots__ = ("_armed", "_due", "_time", "_timer", "by", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._time = loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._armed = inf  # when the timer fires
        self._due = inf
        self.by: float = inf  # the loop's time at which it must be over, whatever the limits say

    def limit(self, seconds: float | None) -> None:
        """From now on it may last this long; None: for ever."""
        due = self.by if seconds is None else self._time() + seconds
        if due > self.by:
            due = self.by
        self._due = due
        if due < self._armed:
            self._arm(due)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = self._due = inf

    def expired(self) -> None:
        raise NotImplementedError

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        self._armed = inf
        due = self._due
        if due <= self._time() + 0.001:  # uvloop counts whole milliseconds
            self.expired()
        elif due < inf:
            self._arm(due)
