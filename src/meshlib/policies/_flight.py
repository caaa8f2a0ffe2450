"""One run that several callers wait for: who runs it, who waits, and who takes over when the runner is cancelled.

The runner does it in its own task or thread, so nothing runs in the background and nothing is left behind. A caller who
is cancelled takes only itself away. Callers may be in different threads and event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import Lock
from typing import Any, Generic, TypeVar

from ..errors import DeadlineExceeded
from ..parking import Parking, ThreadParking, task_parking
from ..runtime import Runtime

R = TypeVar("R")


class Flight(Generic[R]):
    """`outcome` is None until somebody has finished the run."""

    __slots__ = ("_led", "_lock", "_waiting", "members", "outcome")

    def __init__(self) -> None:
        self._lock = Lock()
        self._led = False
        self._waiting: list[Parking] = []
        self.members = 0
        self.outcome: tuple[R | None, Exception | None] | None = None

    def join(self) -> None:
        with self._lock:
            self.members += 1

    def leave(self) -> None:
        with self._lock:
            self.members -= 1

    def lead(self) -> bool:
        """True: the run is yours, follow with `end`."""
        with self._lock:
            if self._led or self.outcome is not None:
                return False
            self._led = True
            return True

    def wait(self, parking: Parking) -> bool:
        """True: somebody else is at it, and wakes `parking` at the end. False: look again."""
        with self._lock:
            if not self._led:
                return False
            self._waiting.append(parking)
            return True

    def end(self, outcome: tuple[R | None, Exception | None] | None) -> None:
        """The run is over; without an outcome (its runner was cancelled) one of those who wait begins it again."""
        with self._lock:
            self._led = False
            self.outcome = outcome
            waiting, self._waiting = self._waiting, []
        for parking in waiting:
            parking.wake()

    def result(self) -> R:
        assert self.outcome is not None
        result, error = self.outcome
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


async def share_async(
    flight: Flight[R], work: Callable[[], Coroutine[Any, Any, R]], deadline: float, run: Runtime
) -> R:
    """The result of `work`, which is run once for all who share the flight. Whoever calls keeps the `deadline`."""
    flight.join()
    try:
        while flight.outcome is None:
            if not flight.lead():
                parking = task_parking()
                if flight.wait(parking):
                    await parking.wait()
                continue
            try:
                result = await work()
            except BaseException as error:
                flight.end(_for_all(error, deadline, run))
                raise
            flight.end((result, None))
            return result
        return flight.result()
    finally:
        flight.leave()


def share(flight: Flight[R], work: Callable[[], R], deadline: float, run: Runtime, by: str) -> R:
    """The same for threads. Who waits past its `deadline` goes away with `DeadlineExceeded`, told by `by`."""
    flight.join()
    try:
        while flight.outcome is None:
            if not flight.lead():
                parking = ThreadParking()
                if flight.wait(parking) and not parking.wait(deadline - run.now()):
                    raise DeadlineExceeded(by)  # somebody else has sent it meanwhile, perhaps
                continue
            try:
                result = work()
            except BaseException as error:
                flight.end(_for_all(error, deadline, run))
                raise
            flight.end((result, None))
            return result
        return flight.result()
    finally:
        flight.leave()


def _for_all(error: BaseException, deadline: float, run: Runtime) -> tuple[None, Exception] | None:
    """What the others hear of it. That the runner was cancelled, or had less time than they have, is its own affair.

    A timer may ring up to two milliseconds early (uvloop's do).
    """
    if not isinstance(error, Exception) or (isinstance(error, TimeoutError) and run.now() >= deadline - 0.002):
        return None
    return None, error
