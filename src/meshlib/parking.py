"""Where one waiter sleeps until somebody wakes it, whatever thread, asyncio loop or trio run either of them is in.

What makes callers wait (a bulkhead with a queue, a mesh that is asked for its next picture) is often made at import
time and used under several event loops and threads. So nothing here belongs to it: each waiter brings a parking of its
own kind, made in the very moment it has to wait.
"""

from __future__ import annotations

import sys
import threading
from asyncio import AbstractEventLoop, Future
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Protocol, TypeAlias, TypeVar

from .runtime import SYSTEM, Runtime

R = TypeVar("R")


class Parking(Protocol):
    """One waiter's place."""

    def wake(self) -> bool:
        """Let the waiter go on; call it once, from any thread. False: its event loop is gone, and so is the waiter."""


class ThreadParking:
    """A thread sleeps."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Looked up now: gevent may have put its own in the place since this module was loaded.
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        self._lock.release()
        return True

    def wait(self, seconds: float, run: Runtime = SYSTEM) -> bool:
        """Sleep until woken, at most `seconds` (`inf`: as long as it takes). False: the time was over first."""
        if run is SYSTEM or seconds == inf:
            return self._lock.acquire(timeout=-1 if seconds == inf else min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        run.sleep(seconds)  # a clock that is moved by hand: whatever it sets off happens in this very call
        return self._lock.acquire(blocking=False)


class AsyncioParking:
    """An asyncio task sleeps."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._future: Future[None] = loop.create_future()

    def wake(self) -> bool:
        if _asyncio_loop() is self._loop:
            _done(self._future)
            return True
        try:
            self._loop.call_soon_threadsafe(_done, self._future)
        except RuntimeError:  # the loop is closed
            return False
        return True

    async def wait(self) -> None:
        await self._future


class TrioParking:
    """A trio task sleeps."""

    __slots__ = ("_event", "_finished", "_token")

    def __init__(self, trio: Any) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._finished = trio.RunFinishedError
        self._event = trio.Event()

    def wake(self) -> bool:
        try:
            self._token.run_sync_soon(self._event.set)
        except self._finished:
            return False
        return True

    async def wait(self) -> None:
        await self._event.wait()


TaskParking: TypeAlias = AsyncioParking | TrioParking


def task_parking() -> TaskParking:
    """A parking for the running task, of whichever library runs it."""
    loop = _asyncio_loop()
    return TrioParking(sys.modules["trio"]) if loop is None else AsyncioParking(loop)


def in_event_loop() -> bool:
    """Whether an event loop runs in this thread: then a thread's sleep would stop every task of it."""
    if _asyncio_loop() is not None:
        return True
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def on_asyncio() -> bool:
    """Whether an asyncio loop runs in this thread."""
    return _asyncio_loop() is not None


def _done(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def start_thread(work: Callable[[], object], name: str) -> None:
    """Run `work` in a new thread that does not keep the process alive."""
    threading.Thread(target=work, name=name, daemon=True).start()


async def shielded(work: Coroutine[Any, Any, object], seconds: float) -> None:
    """Await `work` although this task is being cancelled, for at most `seconds`."""
    import anyio  # here and below: seldom needed, and slow to load

    with anyio.move_on_after(seconds, shield=True):
        await work


async def in_thread(work: Callable[[], R]) -> R:
    """Run `work` in a worker thread and let other tasks run meanwhile. A cancelled wait leaves it to end by itself."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
