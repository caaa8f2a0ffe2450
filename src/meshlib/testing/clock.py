"""A clock whose time is a number: tests add to it, and nothing waits for anything real."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from math import inf
from random import Random
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from ..runtime import SYSTEM, Expired, Signal

R = TypeVar("R")
_IDLE = 25  # how many turns of the event loop nobody may stir before time goes on


class ManualClock:
    """A `Runtime` in which time passes only by `advance` and by sleeping, and chance is a list or a seed.

    `sleep` moves the clock at once. `sleep_async` and `until` let all other tasks run first, and when every one of them
    is asleep too, the clock jumps to the next moment at which somebody wants to wake: an hour of virtual time takes no
    time, and the order of events is the same in each run. It works on asyncio and trio, for tasks that wait for each
    other or for this clock; who waits for a socket or a thread is not waited for.

    `chance`: the draws in order, repeated from the start when used up, or a seed for `random.Random`.
    """

    def __init__(self, now: float = 0.0, *, chance: Sequence[float] | int = (0.5,)) -> None:
        self.time = now
        self.slept: list[float] = []
        self._draw = Random(chance).random if isinstance(chance, int) else _repeat(tuple(chance))
        self._alarms: list[tuple[float, int]] = []
        self._numbers = count()
        self._stirs = 0

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return self._draw()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Sleeping tasks whose time has come wake at the next turn of the event loop."""
        self.time += seconds
        self._stirs += 1

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._reach(self.time + seconds)

    async def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> R:
        if deadline == inf:
            return await work
        failed: Exception | None = None
        with anyio.CancelScope() as all_of_it:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, deadline, all_of_it)
                try:
                    result = await work
                except Exception as error:
                    failed = error
                group.cancel_scope.cancel()
        if all_of_it.cancelled_caught:
            raise Expired
        if failed is not None:
            raise failed
        return result

    def signal(self) -> Signal:
        return SYSTEM.signal()

    async def _watch(self, deadline: float, scope: anyio.CancelScope) -> None:
        await self._reach(deadline)
        scope.cancel()

    async def _reach(self, due: float) -> None:
        alarm = (due, next(self._numbers))
        heapq.heappush(self._alarms, alarm)
        self._stirs += 1
        try:
            idle, stirs = 0, self._stirs
            while self.time < due:
                await checkpoint()
                idle, stirs = (idle + 1, stirs) if stirs == self._stirs else (0, self._stirs)
                if idle > _IDLE and self._alarms[0] == alarm:
                    self.time = max(self.time, due)
            await checkpoint()
        finally:
            self._alarms.remove(alarm)
            heapq.heapify(self._alarms)
            self._stirs += 1


def _repeat(draws: tuple[float, ...]) -> Callable[[], float]:
    if not draws:
        raise ValueError("chance=(): expected at least one draw")
    places = count()
    return lambda: draws[next(places) % len(draws)]
