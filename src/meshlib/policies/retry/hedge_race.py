"""Hedge race: runs several attempts at once; the first good one wins, the losers are cancelled and awaited.

`race` returns only when no attempt is running any more. The rules are in `RaceState`, once. Two drivers run it:
asyncio's, where the first attempt runs in the caller's own task and a race without a second one costs a timer, and
anyio's for trio and other clocks.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine
from contextvars import copy_context
from inspect import isawaitable
from math import inf
from typing import Any, Generic, Protocol, TypeVar, cast

from ...runtime import CALLBACK, SYSTEM, Runtime, timers_of

R = TypeVar("R")


class Racer(Protocol[R]):
    """What a race is about. Attempts are numbered from 0."""

    delay: float  # seconds after which the next attempt starts, if none has won by then
    next_on_failure: bool  # a failed attempt is followed by the next one at once
    last_failure: bool  # if all fail, the outcome is that of the last one to end, and not that of the first

    def attempt(self, number: int) -> Coroutine[Any, Any, R]: ...
    def may_start(self, number: int) -> bool:
        """Whether this further attempt may start. Asked at the moment of its start."""

    def wins(self, number: int, result: R | None, error: BaseException | None) -> bool:
        """Whether this outcome is the answer, or another attempt is worth waiting for."""

    def discard(self, result: R) -> object:
        """Drop a result that is not returned. An awaitable that it returns is awaited."""


class RaceState(Generic[R]):
    """One race: the attempts that were started, the outcomes so far, and the winner."""

    __slots__ = ("_kept", "_racer", "_stopped", "discarded", "running", "started", "winner")

    def __init__(self, racer: Racer[R]) -> None:
        self._racer = racer
        self._kept: tuple[R | None, BaseException | None] | None = None  # the outcome if no attempt wins
        self._stopped = False
        self.running: int = 1
        self.started: int = 1
        self.winner: tuple[R | None, BaseException | None] | None = None
        self.discarded: list[R] = []

    def next(self, *, failed: bool = False) -> int | None:
        """The number of another attempt that is to start now (one has `failed` or is late), if it may."""
        if self.winner is not None or self._stopped or not (self.running or failed):
            return None
        try:
            allowed = self._racer.may_start(self.started)
        except Exception as error:
            self._break(error)
            return None
        if not allowed:
            self._stopped = True
            return None
        number = self.started
        self.started += 1
        self.running += 1
        return number

    def ended(self, number: int, result: R | None, error: BaseException | None) -> None:
        self.running -= 1
        if self.winner is not None:
            if error is None:
                self.discarded.append(cast(R, result))
            return
        try:
            won = self._racer.wins(number, result, error)
        except Exception as broken:
            self._break(broken)
            won = False
        if won:
            self._finish(result, error)
        elif self.winner is None and (number == 0 or self._racer.last_failure):
            self.discarded += self._kept_result()
            self._kept = result, error
        elif error is None:
            self.discarded.append(cast(R, result))

    def _break(self, error: Exception) -> None:
        """The racer raised: that ends the race, because no attempt would carry the error to the caller."""
        self._finish(None, error)

    def _finish(self, result: R | None, error: BaseException | None) -> None:
        self.winner = result, error
        self.discarded += self._kept_result()

    def _kept_result(self) -> list[R]:
        kept, self._kept = self._kept, None
        return [cast(R, kept[0])] if kept is not None and kept[1] is None else []

    @property
    def over(self) -> bool:
        return self.winner is not None or self.running == 0

    def stop(self) -> None:
        """Start no more."""
        self._stopped = True

    def unreturned(self) -> list[R]:
        """The result that would have been returned, for a race that was cancelled from outside."""
        if self.winner is None:
            return self._kept_result()
        return [cast(R, self.winner[0])] if self.winner[1] is None else []

    def outcome(self) -> R:
        """The winner's; if none has won, that of the first attempt, or of the last one to end."""
        result, error = self.winner or self._kept or (None, None)
        if error is not None:
            raise error
        return cast(R, result)


async def race(racer: Racer[R], run: Runtime) -> R:
    """Run attempt 0, and others as `racer` decides; the winner's outcome, when all the others have ended."""
    loop = _asyncio_loop()
    state: RaceState[R] = RaceState(racer)
    try:
        if loop is not None and run is SYSTEM:
            await _on_asyncio(racer, state, loop)
        else:
            await _on_anyio(racer, state, run)
        if state.discarded:
            await _discard(racer, state.discarded)
    except GeneratorExit:  # dropped: nothing may be awaited any more
        raise
    except BaseException:
        state.discarded += state.unreturned()
        if state.discarded:
            import anyio  # here and below: seldom needed, and slow to load

            with anyio.CancelScope(shield=True):
                await _discard(racer, state.discarded)
        raise
    return state.outcome()


async def _discard(racer: Racer[R], results: list[R]) -> None:
    """Discard them one by one; after an interruption, `results` holds those that are still to be discarded."""
    while results:
        dropped = racer.discard(results.pop(0))
        if isawaitable(dropped):
            await dropped


async def _on_asyncio(racer: Racer[R], state: RaceState[R], loop: asyncio.AbstractEventLoop) -> None:
    caller = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    others: dict[asyncio.Task[R], int] = {}
    others_ended: asyncio.Future[None] | None = None  # set once the first attempt has ended and others still run
    cancelled = caller.cancelling()
    first_cancelled, first_runs = False, True
    timers, timer, context = timers_of(loop), list[Any](), copy_context()

    def start(failed: bool = False) -> None:
        number = state.next(failed=failed)
        if number is None:
            settle()  # the racer may have raised, which ends the race
            return
        task = loop.create_task(racer.attempt(number), context=context.copy())
        others[task] = number
        task.add_done_callback(ended)
        set_timer()

    def set_timer() -> None:
        nonlocal timer
        cancel_timer()
        if racer.delay < inf:
            timer = timers.set(racer.delay, start)

    def cancel_timer() -> None:
        if timer and timer[CALLBACK] is not None:
            timers.cancel(timer)

    def settle() -> None:
        nonlocal first_cancelled
        if state.winner is not None and first_runs and not first_cancelled:
            first_cancelled = True
            caller.cancel()
        if others_ended is not None and not others_ended.done() and (state.over or not others):
            others_ended.set_result(None)

    def ended(task: asyncio.Task[R]) -> None:
        number = others.pop(task, None)
        if number is None:
            return  # the whole race was dropped
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        state.ended(number, None if error else task.result(), error)
        if state.winner is None and racer.next_on_failure:
            start(failed=True)
        settle()

    set_timer()
    try:
        try:
            result = await racer.attempt(0)
        except Exception as error:
            state.ended(0, None, error)
        except asyncio.CancelledError:
            if not first_cancelled or caller.uncancel() > cancelled:
                raise
            first_cancelled = False
            state.ended(0, None, asyncio.CancelledError())
        else:
            state.ended(0, result, None)
        first_runs = False
        if first_cancelled:  # the attempt ended by itself all the same
            caller.uncancel()
        if state.winner is None and racer.next_on_failure:
            start(failed=True)
        if not state.over:
            others_ended = loop.create_future()
            await others_ended
    except GeneratorExit:  # dropped: nothing may be awaited any more
        abandoned, others = others, {}
        for task in () if loop.is_closed() else abandoned:
            task.cancel()
        raise
    finally:
        first_runs = False
        state.stop()
        cancel_timer()
        if others:
            await _cancel_and_await(others)


async def _cancel_and_await(tasks: dict[asyncio.Task[R], int]) -> None:
    """Cancel the tasks and wait until they have ended, even if the caller is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while tasks:
        try:
            await asyncio.wait(tuple(tasks))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _on_anyio(racer: Racer[R], state: RaceState[R], run: Runtime) -> None:
    import anyio

    async with anyio.create_task_group() as group:
        over = anyio.Event()

        async def attempt(number: int) -> None:
            result: R | None = None
            failed: Exception | None = None
            try:
                result = await racer.attempt(number)
            except Exception as error:
                failed = error
            state.ended(number, result, failed)
            if state.winner is None and racer.next_on_failure:
                start(failed=True)
            if state.over:
                over.set()

        async def start_later(number: int) -> None:
            await run.sleep_async(racer.delay)
            if state.started == number:
                start()

        def start(failed: bool = False) -> None:
            number = state.next(failed=failed)
            if number is not None:
                begin(number)
            elif state.winner is not None:
                over.set()  # the racer raised, which ends the race

        def begin(number: int) -> None:
            group.start_soon(attempt, number)
            if racer.delay < inf:
                group.start_soon(start_later, number + 1)

        begin(0)
        await over.wait()
        group.cancel_scope.cancel()
