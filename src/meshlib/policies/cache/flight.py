"""One run that several callers wait for: who runs it, who waits, and who takes over when the runner is cancelled.

The runner does it in its own task or thread, so nothing runs in the background and nothing is left behind. A caller who
is cancelled takes only itself away. Callers may be in different threads and event loops.
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
    """`outcome` is None until somebody has finished the run. Who makes one that is `led` is its first member and runs.

    `members` are those who run it or wait for it. An error that nobody waits for is not kept: it knows the frames that
    know the flight, and only the garbage collector would part them.
    """

    __slots__ = ("_led", "_lock", "_waiting", "members", "outcome")

    def __init__(self, led: bool = False) -> None:
        self._lock = Lock()
        self._led = led
        self._waiting: list[Parking] = []
        self.members = 1 if led else 0
        self.outcome: tuple[R | None, Exception | None] | None = None

    def join(self) -> bool:
        """Become a member. True: the run is yours, follow with `end`."""
        with self._lock:
            self.members += 1
            return self._lead()

    def leave(self) -> None:
        with self._lock:
            self.members -= 1

    def lead(self) -> bool:
        """For members. True: the run is yours, follow with `end`."""
        with self._lock:
            return self._lead()

    def wait(self, parking: Parking) -> bool:
        """True: somebody else is at it, and wakes `parking` at the end. False: look again."""
        with self._lock:
            if not self._led:
                return False
            self._waiting.append(parking)
            return True

    def end(self, result: R | None, error: Exception | None, told: bool = True) -> None:
        """The run is over, and its runner gone; unless it is `told`, one of those who wait begins it again."""
        with self._lock:
            self._led = False
            self.members -= 1
            if told and (error is None or self.members):
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

    def _lead(self) -> bool:
        if self._led or self.outcome is not None:
            return False
        self._led = True
        return True


async def share_async(
    flight: Flight[R], leads: bool, work: Callable[[A], Coroutine[Any, Any, R]], about: A, deadline: float, run: Runtime
) -> R:
    """The result of `work(about)`, which is run once for all who share the flight, at first by who `leads`.

    Whoever calls keeps the `deadline`.
    """
    if not leads and not flight.join() and not await _turn_async(flight):
        return flight.result()
    try:
        result = await work(about)
    except BaseException as error:
        flight.end(None, *_for_all(error, deadline, run))
        raise
    flight.end(result, None)
    return result


def share(
    flight: Flight[R], leads: bool, work: Callable[[A], R], about: A, deadline: float, run: Runtime, by: str
) -> R:
    """The same for threads. Who waits past its `deadline` goes away with `DeadlineExceeded`, told by `by`."""
    if not leads and not flight.join() and not _turn(flight, deadline, run, by):
        return flight.result()
    try:
        result = work(about)
    except BaseException as error:
        flight.end(None, *_for_all(error, deadline, run))
        raise
    flight.end(result, None)
    return result


async def _turn_async(flight: Flight[R]) -> bool:
    """Wait as a member. True: the run is yours. False: it is over, and you are no member any more."""
    leads = False
    try:
        while flight.outcome is None and not leads:
            parking = task_parking()
            if flight.wait(parking):
                await parking.wait()
            leads = flight.outcome is None and flight.lead()
    finally:
        if not leads:
            flight.leave()
    return leads


def _turn(flight: Flight[R], deadline: float, run: Runtime, by: str) -> bool:
    leads = False
    try:
        while flight.outcome is None and not leads:
            parking = ThreadParking()
            if flight.wait(parking) and not parking.wait(deadline - run.now()):
                raise DeadlineExceeded(by)  # somebody else has sent it meanwhile, perhaps
            leads = flight.outcome is None and flight.lead()
    finally:
        if not leads:
            flight.leave()
    return leads


def _for_all(error: BaseException, deadline: float, run: Runtime) -> tuple[Exception | None, bool]:
    """What the others are told of it, and whether they are. Cancelled, or in less time than they have: they are not.

    A timer may ring up to two milliseconds early (uvloop's do).
    """
    if not isinstance(error, Exception) or (isinstance(error, TimeoutError) and run.now() >= deadline - 0.002):
        return None, False
    return error, True
