"""How hot_path.py calls what a row makes: so that it succeeds, fails, is refused, or meets a probe that is out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from guards import TRIAL, Failed, Make, Row, Section

Batch = Callable[[int], float]  # so many calls: CPU seconds of each
now = time.process_time

# --- what is called -------------------------------------------------------------------------------------------------


def answer(x: Any) -> Any:
    return x


async def answer_async(x: Any) -> Any:
    return x


def fails(x: Any) -> Any:
    raise Failed


async def fails_async(x: Any) -> Any:
    raise Failed


def told(x: Any) -> Any:
    """Fails, answers, or does what it is told, all while it is guarded."""
    if x is Failed:
        raise Failed
    return x() if callable(x) else x


async def told_async(x: Any) -> Any:
    if x is Failed:
        raise Failed
    return await x() if callable(x) else x


def sync_batch(fn: Any, calls: int) -> float:
    start = now()
    for _ in range(calls):
        fn(1)
    return (now() - start) / calls


def erring_batch(fn: Any, calls: int) -> float:
    start = now()
    for _ in range(calls):
        try:
            fn(1)
        except Exception:
            pass
    return (now() - start) / calls


async def async_batch(fn: Any, calls: int) -> float:
    start = now()
    for _ in range(calls):
        await fn(1)
    return (now() - start) / calls


async def erring_async_batch(fn: Any, calls: int) -> float:
    start = now()
    for _ in range(calls):
        try:
            await fn(1)
        except Exception:
            pass
    return (now() - start) / calls


# --- bringing it to refuse ------------------------------------------------------------------------------------------


class Admits(Exception):
    """It ought to refuse, or to come back, and does not."""


def refuses(run: Callable[[Any], Any]) -> bool:
    try:
        run(1)
    except Exception:
        return True
    return False


def opened(run: Callable[[Any], Any], more: int = 2000) -> None:
    """Fail until it is refused: from then on it raises something else than the function does. And some more."""
    for _ in range(200):
        try:
            run(Failed)
        except Failed:
            continue
        except Exception:
            break
    else:
        raise Admits("200 failures did not open it")
    for _ in range(more):
        try:
            run(Failed)
        except Exception:
            pass


def spent(run: Callable[[Any], Any]) -> None:
    if not any(refuses(run) for _ in range(200)):
        raise Admits("200 calls did not spend it")


class Ways:
    """The batches of one row. Each may raise, where a peer cannot do it."""

    def __init__(self, section: Section, row: Row, loop: asyncio.AbstractEventLoop) -> None:
        self.section, self.row, self.loop = section, row, loop

    def succeeding(self, is_async: bool) -> Batch:
        guarded = self._made(self.row.make, answer_async if is_async else answer, is_async)
        return self._looped(async_batch, guarded) if is_async else functools.partial(sync_batch, guarded)

    def failing(self, is_async: bool) -> Batch:
        assert self.row.failing is not None
        guarded = self._made(self.row.failing, fails_async if is_async else fails, is_async)
        return self._looped(erring_async_batch, guarded) if is_async else functools.partial(erring_batch, guarded)

    def refused(self, is_async: bool) -> Batch:
        assert self.row.tight is not None
        guarded = self._made(self.row.tight, told_async if is_async else told, is_async)
        run = self._run(guarded) if is_async else guarded
        if self.section.refuses == "fill":
            return self._filled(guarded, is_async)
        opened(run) if self.section.refuses == "open" else spent(run)
        return self._looped(erring_async_batch, guarded) if is_async else functools.partial(erring_batch, guarded)

    def half_open(self, is_async: bool) -> Batch:
        """A probe is out, and stays out. What would let another in, or makes callers wait, says so."""
        assert self.row.trial is not None
        guarded = self._made(self.row.trial, told_async if is_async else told, is_async)
        opened(self._run(guarded) if is_async else guarded, more=0)
        time.sleep(TRIAL * 1.5)
        if is_async:
            return self._probing_async(guarded)
        out, second = threading.Event(), list[bool]()
        threading.Thread(target=guarded, args=(lambda: out.set() or threading.Event().wait(),), daemon=True).start()
        out.wait(1.0)
        other = threading.Thread(target=lambda: second.append(refuses(guarded)), daemon=True)
        other.start()
        other.join(1.0)
        check(second)
        return functools.partial(erring_batch, guarded)

    def _probing_async(self, guarded: Any) -> Batch:
        async def begin() -> list[bool]:
            self.probe = asyncio.ensure_future(guarded(asyncio.Event().wait))
            await asyncio.sleep(0.01)
            try:
                await asyncio.wait_for(guarded(1), 0.5)
            except TimeoutError:
                return []
            except Exception:
                return [True]
            return [False]

        check(self.loop.run_until_complete(begin()))
        return self._looped(erring_async_batch, guarded)

    def _filled(self, guarded: Any, is_async: bool) -> Batch:
        """The one place is taken by the call that makes the batch."""
        if is_async:

            def batch_async(calls: int) -> float:
                return self.loop.run_until_complete(guarded(lambda: erring_async_batch(guarded, calls)))  # type: ignore[no-any-return]

            async def inner() -> bool:
                try:
                    await asyncio.wait_for(guarded(1), 0.5)
                except Exception as error:
                    return not isinstance(error, TimeoutError)
                return False

            check([self.loop.run_until_complete(guarded(inner))])
            return batch_async
        check([guarded(lambda: refuses(guarded))])
        return lambda calls: guarded(lambda: erring_batch(guarded, calls))  # type: ignore[no-any-return]

    def _made(self, make: Make, fn: Any, is_async: bool) -> Any:
        """In a running loop where it is async: some peers ask for it where they are made."""

        async def within() -> Any:
            return make()(fn)

        return self.loop.run_until_complete(within()) if is_async else make()(fn)

    def _run(self, guarded: Any) -> Callable[[Any], Any]:
        async def once(x: Any) -> Any:
            return await guarded(x)

        return lambda x: self.loop.run_until_complete(once(x))

    def _looped(self, batch: Callable[[Any, int], Coroutine[Any, Any, float]], guarded: Any) -> Batch:
        return lambda calls: self.loop.run_until_complete(batch(guarded, calls))


@contextlib.contextmanager
def patience(seconds: int) -> Iterator[None]:
    """What does not come back is a finding too."""

    def give_up(number: int, frame: object) -> None:
        raise Admits("does not come back")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(refused: list[bool]) -> None:
    if not refused:
        raise Admits("callers wait")
    if not refused[0]:
        raise Admits("lets more in")
