"""Bulkhead: lets so many calls run at once, so that one slow server cannot take every thread, task and socket.

    a call ──▶ a slot free? ── yes ──▶ runs ──▶ gives its slot to the first in the wait queue
                     │ no
                     ├── room in the wait queue ──▶ waits up to `max_wait`, first come, first served
                     └── none ──▶ BulkheadFull

After resilience4j's SemaphoreBulkhead (`max_wait`), Finagle's RequestSemaphoreFilter (`max_queue`), Hystrix's
semaphore isolation (neither) and tower's ConcurrencyLimit (`max_wait=inf`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Any

from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.gate import _READY
from .slots import Slots


@dataclass(frozen=True, slots=True)
class BulkheadMetrics:
    """A bulkhead at one moment. `available` slots are free, `waiting` calls are in the wait queue."""

    max_concurrent: int
    in_flight: int
    available: int
    waiting: int
    rejected: int


class Bulkhead(Slots):
    """At most `max_concurrent` calls at once; safe under threads, tasks and any number of event loops.

    A call that finds no slot is refused with `BulkheadFull`, unless it may wait: `max_wait` seconds at most (`inf`: as
    long as it takes), with at most `max_queue` calls in the wait queue. Either alone leaves the other unbounded.
    The wait queue is served first come, first served; a waiter that is cancelled leaves it and delays no other. A call
    whose own deadline comes first ends with `DeadlineExceeded`. A thread that runs an event loop never waits:
    a plain function called there is refused at once. Raises ValueError for values without sense.

    A success costs no lock and no look at the clock.
    """

    def __init__(
        self,
        max_concurrent: int = 100,
        *,
        max_queue: int | None = None,
        max_wait: float | None = None,
        name: str = "bulkhead",
        runtime: Runtime = SYSTEM,
    ) -> None:
        checks.count("max_concurrent", max_concurrent)
        super().__init__(max_concurrent, max_queue=max_queue, max_wait=max_wait, name=name, runtime=runtime)

    def enter(self, now: float = 0.0) -> int:
        """Take a slot, or raise `BulkheadFull`. Never waits."""
        if self.take() < 0:
            raise self._refuse("")
        return 0

    # --- by hand, and looking --------------------------------------------------------------------------------------

    def resize(self, max_concurrent: int) -> None:
        """Change the number of slots now. Running calls stay; too many of them are not replaced when they end."""
        checks.count("max_concurrent", max_concurrent)
        with self._lock:
            self._resize(max_concurrent)

    def metrics(self) -> BulkheadMetrics:
        """Everything at one moment, for a live view."""
        with self._lock:
            return BulkheadMetrics(
                max_concurrent=self.max_concurrent,
                in_flight=self.in_flight,
                available=self.available,
                waiting=len(self._wait_queue.waiters),
                rejected=self._rejected,
            )

    # --- the shells ------------------------------------------------------------------------------------------------

    def _lines(self, wait: str, patience: str, args: str) -> dict[str, str]:
        # Without a method call this costs a third less: taking and giving back a slot is written into the wrapper.
        give = "_put(0)\n{0}if _gate._watched: _gate._settle()"
        return {
            "permit": "try:\n        if _gate._watched: raise IndexError\n        _take()\n"
            f"    except IndexError:\n        {wait}_wait({patience})",
            "failed": give.format(" " * 8),
            "settle": give.format(" " * 4),
        }

    def _names(self, is_async: bool) -> dict[str, Any]:
        wait = self._come_async if is_async else self._come
        return {"_take": self._free.pop, "_put": self._free.append, "_wait": wait}

    def _come(self, run: Runtime, deadline: float = inf) -> None:
        if self.take() < 0:
            self.wait(run, deadline)

    async def _come_async(self, run: Runtime, deadline: float = inf) -> None:
        if self.take() < 0:
            await self.wait_async(run, deadline)

    # All slots are alike, so a `with` block need not remember which one it has.
    def __enter__(self) -> None:
        if self.take() < 0:
            self.wait(self.runtime)

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()

    def __aenter__(self) -> Any:
        return _READY if self.take() >= 0 else self.wait_async(self.runtime)

    def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> Any:
        self.leave()
        return _READY
