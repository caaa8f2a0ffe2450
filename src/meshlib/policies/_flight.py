"""One run that several callers wait for: who runs it, who waits, and who takes over when the runner is cancelled.

The runner does it in its own task or thread, so nothing runs in the background and nothing is left behind. A caller who
is cancelled takes only itself away. Callers may be in different threads and event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import TIMEOUT_MAX, Lock
from typing import Any, Generic, Protocol, TypeVar

from ..errors import DeadlineExceeded
from ..runtime import Runtime

R = TypeVar("R")


class _Wakes(Protocol):
    def set(self) -> None: ...


class Flight(Generic[R]):
    """`outcome` is None until somebody has finished the run."""

    __slots__ = ("_led", "_lock", "_waiting", "members", "outcome")

    def __init__(self) -> None:
        self._lock = Lock()
        self._led = False
        self._waiting: list[_Wakes] = []
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

    def wait(self, signal: _Wakes) -> bool:
        """True: somebody else is at it, and sets `signal` at the end. False: look again."""
        with self._lock:
            if not self._led:
                return False
            self._waiting.append(signal)
            return True

    def end(self, outcome: tuple[R | None, Exception | None] | None) -> None:
        """The run is over; without an outcome (its runner was cancelled) one of those who wait begins it again."""
        with self._lock:
            self._led = False
            self.outcome = outcome
            waiting, self._waiting = self._waiting, []
        for signal in waiting:
            signal.set()

    def result(self) -> R:
        assert self.outcome is not None
        result, error = self.outcome
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


class ThreadSignal:
    """A thread sleeps until it is set."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def set(self) -> None:
        self._lock.release()

    def wait(self, seconds: float) -> bool:
        """False: the time was over first."""
        return self._lock.acquire(timeout=max(0.0, min(seconds, TIMEOUT_MAX)))


async def share_async(flight: Flight[R], work: Callable[[], Coroutine[Any, Any, R]], run: Runtime) -> R:
    """The result of `work`, which is run once for all who share the flight."""
    flight.join()
    try:
        while flight.outcome is None:
            if not flight.lead():
                signal = run.signal()
                if flight.wait(signal):
                    await signal.wait()
                continue
            try:
                result = await work()
            except BaseException as error:
                flight.end((None, error) if isinstance(error, Exception) else None)
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
                signal = ThreadSignal()
                if flight.wait(signal) and not signal.wait(deadline - run.now()):
                    raise DeadlineExceeded(by)  # somebody else has sent it meanwhile, perhaps
                continue
            try:
                result = work()
            except BaseException as error:
                flight.end((None, error) if isinstance(error, Exception) else None)
                raise
            flight.end((result, None))
            return result
        return flight.result()
    finally:
        flight.leave()
