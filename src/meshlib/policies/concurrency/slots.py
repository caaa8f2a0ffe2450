"""Slots: calls take and give them back; what a bulkhead and an adaptive limit have in common.

A free slot is an item of a deque, whose append and pop are atomic, also without a global interpreter lock: taking and
giving back one needs no lock while no call waits. A slot is made when a call first needs it, under the lock: there are
never more than there were calls at once, and a limit of 2,147,483,647 (Istio's word for none) costs one number.
"""

from __future__ import annotations

from collections import deque
from math import inf
from threading import RLock

from ...call import IGNORED, Classifier, Verdict
from ...errors import BulkheadFull
from ...events import CallRejected
from ...parking import arrives
from ...runtime import Runtime
from ..shell import checks
from ..shell.waiting_gate import WaitingGate
from .wait_queue import NONE, WaitQueue, longest_wait

_STRAYS = 1000  # calls that come back to a forked child, during which calls of its parent are looked for among them


class Slots(WaitingGate):
    """A number of slots, a wait queue before them, and a way to change the number."""

    def __init__(
        self,
        slots: int,
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
        self.max_concurrent: int = slots
        self._free: deque[int] = deque()
        self._made = 0  # slots there are, free or taken; those above `max_concurrent` go as soon as they come back
        self._rejected = 0
        self.reason: str = f"all {slots} slots are taken"
        self._lock = RLock()  # garbage collection may close a waiter or a guarded generator while we hold it
        self._watched = False  # whether a returned slot is waited for, or is to go: only then `leave` takes the lock
        self._strays = 0
        self._wait_queue = WaitQueue(
            self._lock,
            self._match,
            self._give_back,
            self._refuse,
            max_queue=queue,
            max_wait=wait,
            latest_first=latest_first,
        )

    def _after_fork(self) -> None:
        # Calls that the forking thread had under way may end here, too, and give back what is no place any more.
        super()._after_fork()
        self._lock = self._wait_queue._lock = RLock()
        self._wait_queue.waiters.clear()
        self._strays = _STRAYS if self.in_flight else 0
        self._free.clear()
        self._made = 0
        self._watched = self._strays > 0

    @property
    def max_queue(self) -> float:
        """How many calls may wait for a slot at once."""
        return self._wait_queue.max_queue

    @property
    def in_flight(self) -> int:
        """How many calls have a slot now."""
        return max(0, self._made - len(self._free))

    @property
    def available(self) -> int:
        """How many slots are free."""
        return max(0, self.max_concurrent - self.in_flight)

    def take(self, now: float = 0.0) -> int:
        """Take a slot if there is one: 0, or −1."""
        if self._watched and self._wait_queue.waiters:
            return NONE
        try:
            return self._free.pop()
        except IndexError:
            return NONE if self._made >= self.max_concurrent else self._make()

    def _make(self) -> int:
        """Make one more slot and take it, if there may be one more and no call waits: 0, or −1."""
        with self._lock:
            if self._made >= self.max_concurrent or self._wait_queue.waiters:
                return NONE
            self._made += 1
            return 0

    def leave(self, permit: int = 0, verdict: Verdict = IGNORED, now: float = 0.0, took: float = 0.0) -> None:
        """Give the slot back. How the call ended does not matter."""
        self._free.append(0)
        if self._watched:
            self._settle()

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        return self._wait_queue.wait(run, deadline, self.name)

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        if arrives() and Slots.take(self) >= 0:
            return 0  # that of a call whose loop was closed
        return await self._wait_queue.wait_async(run, deadline, self.name)

    def _settle(self) -> None:
        with self._lock:
            self._match()

    # A call that leaves puts its slot back and then reads `_watched`; a call that comes sets `_watched` and then looks
    # for a slot. In whatever order two threads do this, one of them sees the other.
    def _match(self) -> None:
        self._watched = True
        free, queue = self._free, self._wait_queue
        self._strays -= self._strays > 0
        while len(free) > self._made:
            free.pop()
        while queue.waiters or self._made > self.max_concurrent:
            try:
                free.pop()
            except IndexError:  # none is free, or a newcomer in another thread was quicker
                if self._made >= self.max_concurrent:
                    break
                self._made += 1
            if self._made > self.max_concurrent:
                self._made -= 1
            elif not queue.grant(0):
                free.append(0)
        self._watched = bool(self._made > self.max_concurrent or queue.waiters or self._strays)

    def _give_back(self, permit: int) -> None:
        self._free.append(0)
        if self._watched:
            self._settle()

    def _resize(self, slots: int) -> None:
        """Under the lock."""
        self.max_concurrent = slots
        self.reason = f"all {slots} slots are taken"
        self._match()

    def _refuse(self, detail: str) -> BulkheadFull:
        self._rejected += 1
        error = BulkheadFull(self.name, self.reason + detail)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        return error
