"""The line before a gate: callers that wait for a permit, first come, first served (or the latest first).

A permit is handed over, not set free: whoever gives one back gives it to the head of the line under the lock, so a
newcomer cannot overtake, and a waiter that is cancelled in that very moment finds it in its hand and passes it on.
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
    """One caller in the line; `permit` is what it was handed."""

    __slots__ = ("parking", "permit")

    def __init__(self, parking: Parking) -> None:
        self.parking = parking
        self.permit = NONE


class WaitQueue:
    """Who waits, and for how long at most.

    `match` is called under `lock` whenever somebody came into the line: it hands out what is free, by `grant`.
    `give` takes back a permit that was handed to somebody who is gone. `refuse` makes the exception.
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
        self.max_queue = max_queue
        self.max_wait = max_wait
        self.latest_first = latest_first
        self.waiters: deque[Waiter] = deque()

    def grant(self, permit: int) -> bool:
        """Under the lock: hand `permit` to the next waiter. False: nobody was there to take it."""
        while self.waiters:
            waiter = self.waiters.pop() if self.latest_first else self.waiters.popleft()
            waiter.permit = permit
            if waiter.parking.wake():
                return True
            waiter.permit = NONE  # its event loop is gone, and it with it
        return False

    def wait(self, run: Runtime, deadline: float, by: str) -> int:
        """Stand in the line in this thread."""
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
            self._walk_away(waiter)
            raise
        return self._outcome(waiter, until, deadline, by)

    async def wait_async(self, run: Runtime, deadline: float, by: str) -> int:
        """Stand in the line in this task."""
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
            self._walk_away(waiter)
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

    def _walk_away(self, waiter: Waiter) -> None:
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
