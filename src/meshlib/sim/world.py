"""What happens next? A queue of things to come, and a clock that jumps from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class World:
    """Virtual time. Everything in it happens in one thread, in order, and the same way every time."""

    __slots__ = ("_queue", "_tie", "now")

    def __init__(self) -> None:
        self.now: float = 0.0
        self._queue: list[tuple[float, int, Callable[[float], object]]] = []
        self._tie = count().__next__

    def at(self, when: float, what: Callable[[float], object]) -> None:
        """Call `what(when)` when the clock reaches `when` seconds. Things of the same time keep their order."""
        heappush(self._queue, (when, self._tie(), what))

    def run(self, until: float) -> None:
        """Let time pass, up to and including `until` seconds."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, what = heappop(queue)
            what(self.now)
        self.now = max(self.now, until)
