"""Places that calls take and give back: what a bulkhead and an adaptive limit have in common.

A free place is an item of a deque, whose append and pop are atomic, also without a global interpreter lock: taking and
giving back one needs no lock while nobody waits. A place is made when a call first needs it, under the lock: there are
never more than there were calls at once, and a limit of 2,147,483,647 (Istio's word for none) costs one number.
"""

from __future__ import annotations

from collections import deque
from math import inf
from threading import RLock

from ...call import IGNORED, Classifier, Verdict
from ...errors import BulkheadFull
from ...events import CallRejected
from ...runtime import Runtime
from ..shell import checks
from ..shell.waiting_gate import WaitingGate
from .wait_queue import NONE, WaitQueue, longest_wait


class Slots(WaitingGate):
    """So many places, a line before them, and a way to change their number."""

    def __init__(
        self,
        places: int,
        *,
        max_queue: int | None,
        max_wait: float | None,
        latest_first: bool = False,
        name: str,
        classify: Classifier | None = None,
        runtime: Runtime,
    ) -> None:
        super().__init__(name, classify=classify, runtime=runtime)
        if max_queue is not None:
            checks.count("max_queue", max_queue, min_value=0)
        if max_wait is not None:
            max_wait = checks.seconds("max_wait", max_wait, zero=True, infinite=True)
        queue, wait = longest_wait(max_queue, max_wait)
        self.max_concurrent = places
        self._free: deque[int] = deque()
        self._made = 0  # places there are, free or taken; those above `max_concurrent` go as soon as they come back
        self._rejected = 0
        self.reason = f"all {places} places are taken"
        self._lock = RLock()  # garbage collection may close a waiter or a guarded generator while we hold it
        self._watched = False  # whether somebody cares for a place that comes back: then, and only then, the lock
        self._line = WaitQueue(
            self._lock,
            self._match,
            self._give_back,
            self._refuse,
            max_queue=queue,
            max_wait=wait,
            latest_first=latest_first,
        )

    @property
    def max_queue(self) -> float:
        """How many calls may wait for a slot at once."""
        return self._line.max_queue

    @property
    def in_flight(self) -> int:
        """How many calls have a place now."""
        return self._made - len(self._free)

    @property
    def available(self) -> int:
        """How many places are free."""
        return max(0, self.max_concurrent - self.in_flight)

    def take(self, now: float = 0.0) -> int:
        """Take a place if there is one: 0, or −1."""
        if self._watched and self._line.waiters:
            return NONE
        try:
            return self._free.pop()
        except IndexError:
            return NONE if self._made >= self.max_concurrent else self._make()

    def _make(self) -> int:
        """Make one more place and take it, if there may be one more and nobody waits: 0, or −1."""
        with self._lock:
            if self._made >= self.max_concurrent or self._line.waiters:
                return NONE
            self._made += 1
            return 0

    def leave(self, permit: int = 0, verdict: Verdict = IGNORED, now: float = 0.0, took: float = 0.0) -> None:
        """Give the place back. How the call ended does not matter."""
        self._free.append(0)
        if self._watched:
            self._settle()

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        return self._line.wait(run, deadline, self.name)

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        return await self._line.wait_async(run, deadline, self.name)

    def _settle(self) -> None:
        with self._lock:
            self._match()

    # Whoever leaves first puts the place back and then looks at `_watched`; whoever comes first sets `_watched` and
    # then looks for a place. In whatever order two threads do this, one of them sees the other.
    def _match(self) -> None:
        self._watched = True
        free, line = self._free, self._line
        while line.waiters or self._made > self.max_concurrent:
            try:
                free.pop()
            except IndexError:  # none is free, or a newcomer in another thread was quicker
                if self._made >= self.max_concurrent:
                    break
                self._made += 1
            if self._made > self.max_concurrent:
                self._made -= 1
            elif not line.grant(0):
                free.append(0)
        self._watched = bool(self._made > self.max_concurrent or line.waiters)

    def _give_back(self, permit: int) -> None:
        self._free.append(0)
        if self._watched:
            self._settle()

    def _resize(self, places: int) -> None:
        """Under the lock."""
        self.max_concurrent = places
        self.reason = f"all {places} places are taken"
        self._match()

    def _refuse(self, detail: str) -> BulkheadFull:
        self._rejected += 1
        error = BulkheadFull(self.name, self.reason + detail)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        return error
