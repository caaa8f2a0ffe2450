"""Parking: one waiter sleeps in a thread, an asyncio loop or a trio run until another thread or task wakes it.

What makes callers wait (a bulkhead with a queue, a mesh whose next snapshot is awaited) is often made at import time
and used under several event loops and threads. So it owns no parking: each waiter makes one of its own kind at the
moment at which it has to wait.
"""

from __future__ import annotations

import sys
import threading
from asyncio import AbstractEventLoop, Future
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Protocol, TypeAlias, TypeVar

from .loop_state import has_loop_state, loop_state
from .runtime import SYSTEM, Runtime

R = TypeVar("R")


class Parking(Protocol):
    """One waiter. It waits once and is woken once."""

    def wake(self) -> bool:
        """Wake the waiter; called once, from any thread. False: its event loop is closed, and the waiter is gone."""


class ThreadParking:
    """A thread sleeps."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Looked up now: gevent may have replaced it since this module was loaded.
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        self._lock.release()
        return True

    def wait(self, seconds: float, run: Runtime = SYSTEM) -> bool:
        """Sleep until woken, at most `seconds` (`inf`: without a limit). False: the time was over first."""
        if run is SYSTEM or seconds == inf:
            return self._lock.acquire(timeout=-1 if seconds == inf else min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        run.sleep(seconds)  # a manual clock: what becomes due happens within this call
        return self._lock.acquire(blocking=False)


class AsyncioParking:
    """An asyncio task sleeps."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        loop_state(loop)  # whoever waited in a loop that was closed waits no more
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
    """A parking for the running task, of the library that runs it."""
    loop = _asyncio_loop()
    return TrioParking(sys.modules["trio"]) if loop is None else AsyncioParking(loop)


def arrives() -> bool:
    """Whether nothing was heard yet of the event loop that runs here. Calls of loops that were closed end then."""
    loop = _asyncio_loop()
    if loop is None or has_loop_state(loop):
        return False
    loop_state(loop)
    return True


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
    """Run `work` in a worker thread while other tasks run. After a cancellation it runs to its end unawaited."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
