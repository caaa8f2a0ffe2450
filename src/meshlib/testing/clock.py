"""A clock whose time is a number: tests add to it, and nothing waits for anything real."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from ..runtime import Expired

if TYPE_CHECKING:
    import trio

R = TypeVar("R")
_PATIENCE = 100  # turns of the event loop that a task may spin before time goes on without it


class ManualClock:
    """A `Runtime` in which time passes only by `advance` and by sleeping, and chance is a list or a seed.

    `sleep` moves the clock at once. `sleep_async` and `until` let all other tasks run first, and when every one of them
    is asleep too, the clock jumps to the next moment at which a task wants to wake: an hour of virtual time takes no
    time, and the order of events is the same in each run. It works on asyncio and trio, for tasks that wait for each
    other or for this clock; a task that waits for a socket or a thread is not waited for.

    `chance`: the draws in order, repeated from the start when used up, or a seed for `random.Random`.
    """

    def __init__(self, now: float = 0.0, *, chance: Sequence[float] | int = (0.5,)) -> None:
        self.time: float = now
        self.slept: list[float] = []
        self._draw = Random(chance).random if isinstance(chance, int) else _repeat(tuple(chance))
        self._alarms: list[_Alarm] = []
        self._numbers = count()

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return self._draw()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Sleeping tasks whose time has come wake at the next turn of the event loop."""
        self.time += seconds
        self._ring()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.slept.append(seconds)
        alarm = self._set(self.time + seconds)
        try:
            await self._wait(alarm)
        finally:
            self._drop(alarm)

    async def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> R:
        if deadline == inf:
            return await work
        failed: Exception | None = None
        alarm = self._set(deadline)  # here and not in the task, whose first turn may come late: outer limits ring first
        try:
            with anyio.CancelScope() as all_of_it:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, alarm, all_of_it)
                    try:
                        result = await work
                    except Exception as error:
                        failed = error
                    group.cancel_scope.cancel()
        finally:
            self._drop(alarm)
        if all_of_it.cancelled_caught:
            raise Expired
        if failed is not None:
            raise failed
        return result

    async def _watch(self, alarm: _Alarm, scope: anyio.CancelScope) -> None:
        await self._wait(alarm)
        scope.cancel()

    def _set(self, due: float) -> _Alarm:
        alarm = _Alarm(due, next(self._numbers))
        heapq.heappush(self._alarms, alarm)
        return alarm

    async def _wait(self, alarm: _Alarm) -> None:
        """Sleep until it is this alarm's turn. Only the first in time moves the clock; one wakes after the other."""
        while self._alarms[0] is not alarm or self.time < alarm.due:
            if self._alarms[0] is not alarm:
                await alarm.up.wait()
                alarm.up = anyio.Event()
                continue
            await _others_are_asleep()
            if self._alarms[0] is alarm and self.time < alarm.due:
                self.time = alarm.due
        await checkpoint()

    def _drop(self, alarm: _Alarm) -> None:
        self._alarms.remove(alarm)
        heapq.heapify(self._alarms)
        self._ring()

    def _ring(self) -> None:
        if self._alarms:
            self._alarms[0].up.set()


class _Alarm:
    __slots__ = ("due", "number", "up")

    def __init__(self, due: float, number: int) -> None:
        self.due = due
        self.number = number
        self.up = anyio.Event()

    def __lt__(self, other: _Alarm) -> bool:
        return (self.due, self.number) < (other.due, other.number)


async def _others_are_asleep() -> None:
    """Return when all other tasks of this event loop wait for something.

    A task that never waits (`while not …: await sleep(0)`) is given some turns, and then time goes on without it.
    """
    if _asyncio_loop() is None:
        await _others_are_asleep_on_trio()
        return
    quiet = 0
    for _ in range(_PATIENCE):
        await checkpoint()
        # Three turns in a row, because what wakes a task may itself still be on its way. anyio asks the tasks for the
        # same attribute, but sleeps for a tenth of a real second in between.
        me = asyncio.current_task()
        waiters = [getattr(task, "_fut_waiter", None) for task in asyncio.all_tasks() if task is not me]
        quiet = quiet + 1 if all(waiter is not None and not waiter.done() for waiter in waiters) else 0
        if quiet == 3:
            return


async def _others_are_asleep_on_trio() -> None:
    """The same, by trio's own knowledge of who can run. Turns are counted, since a slow machine needs more time."""
    import trio

    with trio.CancelScope() as enough:
        turns = _Turns(enough)
        trio.lowlevel.add_instrument(cast("trio.abc.Instrument", turns))
        try:
            await anyio.wait_all_tasks_blocked()
        finally:
            trio.lowlevel.remove_instrument(cast("trio.abc.Instrument", turns))


class _Turns:
    """Cancels `scope` after as many turns of trio's loop as a task may spin."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.left = _PATIENCE

    def before_io_wait(self, timeout: float) -> None:  # trio calls it once in each turn
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


def _repeat(draws: tuple[float, ...]) -> Callable[[], float]:
    if not draws:
        raise ValueError("chance=(): expected at least one draw")
    places = count()
    return lambda: draws[next(places) % len(draws)]
