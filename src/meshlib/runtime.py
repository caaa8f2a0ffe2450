"""The only door to time, chance, sleeping and tasks. Everything else is told the time."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Protocol, TypeVar, cast

R = TypeVar("R")


class Expired(TimeoutError):
    """`until` cut the work short. A type of its own, because the work may raise a `TimeoutError` itself."""


class Runtime(Protocol):
    """What a driver may ask of the world. `meshlib.testing.ManualClock` is one in which time is a number."""

    def now(self) -> float:
        """Monotonic seconds."""

    def random(self) -> float:
        """A uniform draw from [0, 1)."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""

    async def sleep_async(self, seconds: float) -> None:
        """Let other tasks run."""

    async def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> R:
        """Await `work`; at `deadline` (monotonic seconds) cancel it, await its end and raise `Expired`.

        A cancellation from outside stays a cancellation, also when it comes together with the deadline. A
        `TimeoutError` that `work` raises passes through as it is.
        """


class System:
    """The real clock, the real dice; asyncio and trio, whichever is running."""

    __slots__ = ()

    now = staticmethod(time.monotonic)
    random = staticmethod(random.random)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # looked up now: gevent may have put its own in the place since this module was loaded

    async def sleep_async(self, seconds: float) -> None:
        if _asyncio_loop() is not None:  # a tenth of anyio's price, and anyio would do the same
            await asyncio.sleep(seconds)
        else:
            import anyio  # here and below: only trio needs it

            await anyio.sleep(seconds)

    def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        if deadline == inf:
            return work
        # asyncio's loop.time() may be replaced and trio's clock has an offset of its own: only what remains counts.
        remaining = deadline - time.monotonic()
        loop = _asyncio_loop()
        if loop is not None:
            return _until(loop, remaining, work)
        return _until_on_trio(remaining, work)


async def _until_on_trio(remaining: float, work: Coroutine[Any, Any, R]) -> R:
    import anyio

    with anyio.move_on_after(max(remaining, 0.0)):
        return await work
    raise Expired


async def _until(loop: asyncio.AbstractEventLoop, remaining: float, work: Coroutine[Any, Any, R]) -> R:
    """What `asyncio.timeout` does, at a third of its price: the task's own count of cancellations, and `Alarms`."""
    alarms = alarms_of(loop)
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    before = task.cancelling()
    alarm = alarms.set(remaining, task.cancel)
    try:
        result = await work
    except BaseException as error:
        if alarm[RING] is None:  # it has rung
            if task.uncancel() <= before and isinstance(error, asyncio.CancelledError):
                raise Expired from error
        else:
            alarms.drop(alarm)
        raise
    if alarm[RING] is None:  # the work chose to finish all the same
        task.uncancel()
    else:
        alarms.drop(alarm)
    return result


RING = 2


class Alarms:
    """The deadlines of one event loop, behind a single timer of it.

    Nearly all are dropped before their time. A timer of the loop for each would cost three times as much as a place in
    a heap, where those that were dropped wait to be swept out.
    """

    __slots__ = ("_at", "_context", "_dropped", "_heap", "_numbers", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._heap: list[list[Any]] = []  # [when, number, what to call, or None once it is over]
        self._numbers = count()
        self._at = inf  # when the timer rings
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        # A timer keeps the context in which it was made; ours serves many calls and shall keep none. It is not shared
        # with other loops either: two threads cannot be in one context at a time.
        self._context = Context()

    def set(self, remaining: float, ring: Callable[[], object]) -> list[Any]:
        """Call `ring` after `remaining` seconds, in no context in particular. Give back what you get to `drop`."""
        when = self.loop.time() + remaining
        alarm = [when, next(self._numbers), ring]
        heappush(self._heap, alarm)
        if when < self._at:
            self._arm(when)
        return alarm

    def drop(self, alarm: list[Any]) -> None:
        """Not any more. Only for an alarm that has not rung: its `RING` is not None."""
        alarm[RING] = None
        self._dropped += 1
        if self._dropped > 100 and self._dropped * 2 > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm[RING] is not None]
            heapify(self._heap)
            self._dropped = 0

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = when
        self._timer = self.loop.call_at(when, self._ring, context=self._context)

    def _ring(self) -> None:
        now = max(self.loop.time(), self._at)  # the loop may be a hair early
        self._at, self._timer = inf, None
        try:
            while self._heap and (self._heap[0][RING] is None or self._heap[0][0] <= now):
                alarm = heappop(self._heap)
                if alarm[RING] is None:
                    self._dropped -= 1
                else:
                    ring, alarm[RING] = alarm[RING], None
                    ring()
        finally:  # one that raises must not silence the others
            if self._heap:
                self._arm(self._heap[0][0])


class _Here(threading.local):
    """The alarms of the event loop that this thread runs."""

    alarms: Alarms | None = None


_here = _Here()


def alarms_of(loop: asyncio.AbstractEventLoop) -> Alarms:
    """The alarms of the event loop that runs in this thread."""
    alarms = _here.alarms
    if alarms is None or alarms.loop is not loop:
        alarms = _here.alarms = Alarms(loop)
    return alarms


SYSTEM: Runtime = System()
