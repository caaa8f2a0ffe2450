"""Flight: one run that several callers share. One runs it, the others wait; if it is cancelled, another takes over.

The runner uses its own task or thread, so nothing runs in the background and nothing is left behind. A caller that is
cancelled leaves alone. Callers may be in different threads and event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import Lock
from typing import Any, Generic, TypeVar

from ...errors import DeadlineExceeded
from ...parking import Parking, ThreadParking, task_parking
from ...runtime import Runtime

A = TypeVar("A")
R = TypeVar("R")


class Flight(Generic[R]):
    """`outcome` is None until the run has ended. With `running`, its maker is the first member and runs it.

    `members` counts the callers that run it or wait for it. An error that no member waits for is not kept: its frames
    refer to the flight, and only the garbage collector would break that cycle.
    """

    __slots__ = ("_lock", "_running", "_waiting", "members", "outcome")

    def __init__(self, running: bool = False) -> None:
        self._lock = Lock()
        self._running = running
        self._waiting: list[Parking] = []
        self.members = 1 if running else 0
        self.outcome: tuple[R | None, Exception | None] | None = None

    def _after_fork(self) -> None:
        """In a forked child: those who wait do so in the parent. Who runs it may be here, and ends it for himself."""
        self._lock = Lock()
        self._waiting = []

    def join(self) -> bool:
        """Become a member. True: the caller runs it, and calls `end` afterwards."""
        with self._lock:
            self.members += 1
            return self._try_run()

    def leave(self) -> None:
        with self._lock:
            self.members -= 1

    def try_run(self) -> bool:
        """For members. True: the caller runs it, and calls `end` afterwards."""
        with self._lock:
            return self._try_run()

    def wait(self, parking: Parking) -> bool:
        """True: another member runs it, and wakes `parking` at the end. False: look again."""
        with self._lock:
            if not self._running:
                return False
            self._waiting.append(parking)
            return True

    def end(self, result: R | None, error: Exception | None, shared: bool = True) -> None:
        """The run has ended, and its runner leaves; unless the outcome is `shared`, a waiting member runs it again."""
        with self._lock:
            self._running = False
            self.members -= 1
            if shared and (error is None or self.members):
                self.outcome = result, error
            waiting = self._waiting
            if waiting:
                self._waiting = []
        for parking in waiting:
            parking.wake()

    def result(self) -> R:
        assert self.outcome is not None
        result, error = self.outcome
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _try_run(self) -> bool:
        if self._running or self.outcome is not None:
            return False
        self._running = True
        return True


async def share_async(
    flight: Flight[R], runs: bool, work: Callable[[A], Coroutine[Any, Any, R]], arg: A, deadline: float, run: Runtime
) -> R:
    """The result of `work(arg)`, which runs once for all members; `runs`: the caller made the flight and runs it.

    The caller itself ends by the `deadline`.
    """
    if not runs and not flight.join() and not await _turn_async(flight):
        return flight.result()
    try:
        result = await work(arg)
    except BaseException as error:
        flight.end(None, *_shared_error(error, deadline, run))
        raise
    flight.end(result, None)
    return result


def share(flight: Flight[R], runs: bool, work: Callable[[A], R], arg: A, deadline: float, run: Runtime, by: str) -> R:
    """The same for threads. A member that waits past its `deadline` gets `DeadlineExceeded` of the policy `by`."""
    if not runs and not flight.join() and not _turn(flight, deadline, run, by):
        return flight.result()
    try:
        result = work(arg)
    except BaseException as error:
        flight.end(None, *_shared_error(error, deadline, run))
        raise
    flight.end(result, None)
    return result


async def _turn_async(flight: Flight[R]) -> bool:
    """Wait as a member. True: the caller runs it. False: it has ended, and the caller has left."""
    runs = False
    try:
        while flight.outcome is None and not runs:
            parking = task_parking()
            if flight.wait(parking):
                await parking.wait()
            runs = flight.outcome is None and flight.try_run()
    finally:
        if not runs:
            flight.leave()
    return runs


def _turn(flight: Flight[R], deadline: float, run: Runtime, by: str) -> bool:
    runs = False
    try:
        while flight.outcome is None and not runs:
            parking = ThreadParking()
            if flight.wait(parking) and not parking.wait(deadline - run.now()):
                raise DeadlineExceeded(by)  # another member may have sent it
            runs = flight.outcome is None and flight.try_run()
    finally:
        if not runs:
            flight.leave()
    return runs


def _shared_error(error: BaseException, deadline: float, run: Runtime) -> tuple[Exception | None, bool]:
    """The error for the other members, and whether it is shared. A cancellation and a deadline of the runner are not.

    A timer may fire up to two milliseconds early (uvloop's do).
    """
    if not isinstance(error, Exception) or (isinstance(error, TimeoutError) and run.now() >= deadline - 0.002):
        return None, False
    return error, True
