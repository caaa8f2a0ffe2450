"""Wait queue: calls that wait for a permit of a gate, first come, first served (or the latest first).

A permit is handed over, not set free: a call that ends gives its permit to the first waiter, under the lock, so a
newcomer cannot overtake. A waiter that is cancelled at that very moment has the permit and passes it on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from typing import Any

from ...errors import DeadlineExceeded, Rejected
from ...parking import Parking, ThreadParking, in_event_loop, task_parking
from ...runtime import Runtime
from ..deadline.deadline import current

NONE = -1  # no permit: permits are 0 and up


class Waiter:
    """One call in the wait queue; `permit` is what it was granted."""

    __slots__ = ("parking", "permit")

    def __init__(self, parking: Parking) -> None:
        self.parking: Parking = parking
        self.permit: int = NONE


class WaitQueue:
    """The calls that wait, and how long they may.

    `match` is called under `lock` whenever a call joined the queue: it hands out what is free, by `grant`.
    `give` takes back a permit that was granted to a waiter which is gone. `refuse` makes the exception.
    """

    __slots__ = ("_give", "_lock", "_match", "_refuse", "latest_first", "max_queue", "max_wait", "waiters")

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        match: Callable[[], None],
        give: Callable[[int], None],
        refuse: Callable[[str], Rejected],
        *,
        max_queue: float,
        max_wait: float,
        latest_first: bool = False,
    ) -> None:
        self._lock = lock
        self._match = match
        self._give = give
        self._refuse = refuse
        self.max_queue: float = max_queue
        self.max_wait: float = max_wait
        self.latest_first: bool = latest_first
        self.waiters: deque[Waiter] = deque()

    def grant(self, permit: int) -> bool:
        """Under the lock: hand `permit` to the next waiter. False: no call waits."""
        while self.waiters:
            waiter = self.waiters.pop() if self.latest_first else self.waiters.popleft()
            waiter.permit = permit
            if waiter.parking.wake():
                return True
            waiter.permit = NONE  # its event loop is gone
        return False

    def wait(self, run: Runtime, deadline: float, by: str) -> int:
        """Wait for a permit in this thread."""
        if self.max_wait <= 0 or self.max_queue <= 0:
            raise self._refuse("")
        if in_event_loop():
            raise self._refuse(", and a thread that runs an event loop cannot wait")
        deadline = min(deadline, current())
        parking = ThreadParking()
        waiter = self._join(parking)
        until = run.now() + self.max_wait
        try:
            if waiter.permit < 0:
                parking.wait(min(until, deadline) - run.now(), run)
        except BaseException:
            self._abandon(waiter)
            raise
        return self._outcome(waiter, until, deadline, by)

    async def wait_async(self, run: Runtime, deadline: float, by: str) -> int:
        """Wait for a permit in this task."""
        if self.max_wait <= 0 or self.max_queue <= 0:
            raise self._refuse("")
        deadline = min(deadline, current())
        parking = task_parking()
        waiter = self._join(parking)
        until = run.now() + self.max_wait
        try:
            if waiter.permit < 0:
                await run.until(min(until, deadline), parking.wait())
        except TimeoutError:
            pass
        except BaseException:
            self._abandon(waiter)
            raise
        return self._outcome(waiter, until, deadline, by)

    def _join(self, parking: Parking) -> Waiter:
        waiter = Waiter(parking)
        with self._lock:
            if len(self.waiters) >= self.max_queue:
                self._match()  # a permit may have come back since it was asked for
            if len(self.waiters) < self.max_queue:
                self.waiters.append(waiter)
                self._match()
                return waiter
        raise self._refuse(f" and {len(self.waiters)} wait")

    def _outcome(self, waiter: Waiter, until: float, deadline: float, by: str) -> int:
        with self._lock:
            if waiter.permit >= 0:
                return waiter.permit
            self._drop(waiter)
        if deadline < until:
            raise DeadlineExceeded(by, sent=False)
        raise self._refuse(f", and none came free within {self.max_wait:g} s")

    def _abandon(self, waiter: Waiter) -> None:
        with self._lock:
            if waiter.permit < 0:
                self._drop(waiter)
                return
        self._give(waiter.permit)

    def _drop(self, waiter: Waiter) -> None:
        try:
            self.waiters.remove(waiter)
        except ValueError:  # its event loop was taken for gone
            pass
        self._match()


def longest_wait(max_queue: int | None, max_wait: float | None) -> tuple[float, float]:
    """What the two settings mean together: either one alone leaves the other unbounded, none of them means no wait."""
    if max_queue is None and max_wait is None:
        return 0, 0.0
    return (inf if max_queue is None else max_queue), (inf if max_wait is None else max_wait)
