"""Runtime: the only source of time, randomness, sleeping and tasks. All other code takes them as arguments."""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Protocol, TypeVar, cast

from .loop_state import loop_state

R = TypeVar("R")


class Expired(TimeoutError):
    """`until` cancelled the work at its deadline. Its own type, because the work may raise `TimeoutError`."""


class Runtime(Protocol):
    """Clock, random source and sleep of a driver. `meshlib.testing.ManualClock` is one in which time is a number."""

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
    """The system's clock and random source; asyncio or trio, whichever is running."""

    __slots__ = ()

    now = staticmethod(time.monotonic)
    random = staticmethod(random.random)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # looked up now: gevent may have replaced it since this module was loaded

    async def sleep_async(self, seconds: float) -> None:
        if _asyncio_loop() is not None:  # a tenth of the cost of anyio, which would do the same
            await asyncio.sleep(seconds)
        else:
            import anyio  # here and below: only trio needs it

            await anyio.sleep(seconds)

    def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        if deadline == inf:
            return work
        # asyncio's loop.time() may be replaced and trio's clock has an offset of its own: only the difference is safe.
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
    """What `asyncio.timeout` does, at a third of its cost: with the task's count of cancellations and our timers."""
    timers = timers_of(loop)
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    before = task.cancelling()
    timer = timers.set(remaining, task.cancel)
    try:
        result = await work
    except BaseException as error:
        if timer[CALLBACK] is None:  # it has fired
            if task.uncancel() <= before and isinstance(error, asyncio.CancelledError):
                raise Expired from error
        else:
            timers.cancel(timer)
        raise
    if timer[CALLBACK] is None:  # the work finished although it was cancelled
        task.uncancel()
    else:
        timers.cancel(timer)
    return result


CALLBACK = 2  # index in a timer; None there: the timer has fired or was cancelled


class DeadlineTimers:
    """The deadlines of one event loop, behind a single timer of it.

    Nearly all are cancelled before their time. A timer of the loop for each would cost three times as much as an entry
    in a heap, in which cancelled ones stay until they are swept out.
    """

    __slots__ = ("_cancelled", "_context", "_handle", "_heap", "_numbers", "_when", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._heap: list[list[Any]] = []  # [when, number, callback, or None once it is over]
        self._numbers = count()
        self._when = inf  # when the loop's timer fires
        self._handle: asyncio.TimerHandle | None = None
        self._cancelled = 0
        # A timer keeps the context in which it was made; ours serves many calls, so it must keep none of theirs. It is
        # not shared with other loops: two threads cannot be in one context at a time.
        self._context = Context()

    def set(self, remaining: float, callback: Callable[[], object]) -> list[Any]:
        """Call `callback` after `remaining` seconds, in an empty context. `cancel` takes the timer that is returned."""
        when = self.loop.time() + remaining
        timer = [when, next(self._numbers), callback]
        heappush(self._heap, timer)
        if when < self._when:
            self._schedule(when)
        return timer

    def cancel(self, timer: list[Any]) -> None:
        """Cancel a timer that has not fired: its `CALLBACK` is not None."""
        timer[CALLBACK] = None
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer[CALLBACK] is not None]
            heapify(self._heap)
            self._cancelled = 0

    def _schedule(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._when = when
        self._handle = self.loop.call_at(when, self._fire, context=self._context)

    def _fire(self) -> None:
        now = max(self.loop.time(), self._when)  # the loop may be slightly early
        self._when, self._handle = inf, None
        try:
            while self._heap and (self._heap[0][CALLBACK] is None or self._heap[0][0] <= now):
                timer = heappop(self._heap)
                if timer[CALLBACK] is None:
                    self._cancelled -= 1
                else:
                    callback, timer[CALLBACK] = timer[CALLBACK], None
                    callback()
        finally:  # a callback that raises must not stop the others
            if self._heap:
                self._schedule(self._heap[0][0])


def timers_of(loop: asyncio.AbstractEventLoop) -> DeadlineTimers:
    """The timers of the event loop that runs in this thread."""
    state = loop_state(loop)
    timers: DeadlineTimers | None = state.get("timers")
    if timers is None:
        timers = state["timers"] = DeadlineTimers(loop)
    return timers


SYSTEM: Runtime = System()
