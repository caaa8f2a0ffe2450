"""Time that jumps: an asyncio loop that never waits, a trio clock, and the `Runtime` of each.

`ManualClock` looks after every task at each jump; a thousand calls at once are too many for it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from math import inf
from random import Random
from typing import Any, TypeVar

import anyio
import trio
import trio.testing

from meshlib.runtime import Expired

R = TypeVar("R")


class Jumping(selectors.SelectSelector):
    """Where an event loop would sleep, its clock is put forward instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits, and nothing is to come")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class VirtualRuntime:
    """A `meshlib.runtime.Runtime` of either, with seeded chance."""

    def __init__(self, now: Callable[[], float], seed: int = 1) -> None:
        self.now = now
        self.random = Random(seed).random

    def sleep(self, seconds: float) -> None:
        raise RuntimeError("nothing here is sync")

    async def sleep_async(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> R:
        with anyio.move_on_after(inf if deadline == inf else max(0.0, deadline - self.now())):
            return await work
        raise Expired


def run(backend: str, main: Callable[[VirtualRuntime], Coroutine[Any, Any, R]]) -> R:
    """`main(runtime)`, from its first to its last second in no time."""
    if backend == "asyncio":
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main(VirtualRuntime(runner.get_loop().time)))

    async def on_trio() -> R:
        return await main(VirtualRuntime(trio.current_time))

    return trio.run(on_trio, clock=trio.testing.MockClock(autojump_threshold=0))
