"""The only door to time, chance, sleeping and tasks. Everything else is told the time."""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine
from math import inf
from typing import Any, Protocol, TypeVar, cast

import anyio

R = TypeVar("R")


class Expired(TimeoutError):
    """`until` cut the work short. A type of its own, because the work may raise a `TimeoutError` itself."""


class Signal(Protocol):
    """Something that one task waits for and any thread may set, once."""

    def set(self) -> None: ...

    async def wait(self) -> None: ...


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

    def signal(self) -> Signal:
        """A signal for the running event loop."""


class System:
    """The real clock, the real dice; asyncio and trio, whichever is running."""

    __slots__ = ()

    now = staticmethod(time.monotonic)
    random = staticmethod(random.random)
    sleep = staticmethod(time.sleep)

    async def sleep_async(self, seconds: float) -> None:
        if _asyncio_loop() is not None:  # a tenth of anyio's price, and anyio would do the same
            await asyncio.sleep(seconds)
        else:
            await anyio.sleep(seconds)

    async def until(self, deadline: float, work: Coroutine[Any, Any, R]) -> R:
        if deadline == inf:
            return await work
        # asyncio's loop.time() may be replaced and trio's clock has an offset of its own: only what remains counts.
        remaining = deadline - time.monotonic()
        loop = _asyncio_loop()
        if loop is not None:
            return await _until(loop, remaining, work)
        with anyio.move_on_after(max(remaining, 0.0)):
            return await work
        raise Expired

    def signal(self) -> Signal:
        return _AsyncioSignal() if _asyncio_loop() is not None else _AnyioSignal()


async def _until(loop: asyncio.AbstractEventLoop, remaining: float, work: Coroutine[Any, Any, R]) -> R:
    """What `asyncio.timeout` does, at half its price: one timer, and the task's own count of cancellations."""
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    before = task.cancelling()
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = loop.call_later(remaining, expire)
    try:
        result = await work
    except BaseException as error:
        timer.cancel()
        if late and task.uncancel() <= before and isinstance(error, asyncio.CancelledError):
            raise Expired from error
        raise
    timer.cancel()
    if late:  # the work chose to finish all the same
        task.uncancel()
    return result


class _AsyncioSignal:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()

    def set(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> None:
        await self._done


class _AnyioSignal:
    def __init__(self) -> None:
        self._event = anyio.Event()
        self._token: Any = anyio.lowlevel.current_token()

    def set(self) -> None:
        # trio's own entry point for other threads; anyio has no call that does not wait for its result.
        self._token.native_token.run_sync_soon(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


SYSTEM: Runtime = System()
