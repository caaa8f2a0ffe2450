"""Several attempts at once, the first good one wins: who is started when, and how the losers are brought home.

`race` returns only when no attempt is running any more. The rules stand in `RaceState`, once; there are two ways to run
one: asyncio's, where the first attempt runs in the caller's own task and a race without a second one costs a timer, and
anyio's for everything else.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine
from contextvars import copy_context
from inspect import isawaitable
from math import inf
from typing import Any, Generic, Protocol, TypeVar, cast

from ...runtime import RING, SYSTEM, Runtime, alarms_of

R = TypeVar("R")


class Racer(Protocol[R]):
    """What a race is about. Attempts are numbered from 0."""

    delay: float  # seconds after which the next attempt is started, if nobody has won by then
    at_once: bool  # a failed attempt is followed by the next one at once
    last: bool  # if all fail, the outcome is that of the one that ended last, and not that of the first

    def attempt(self, number: int) -> Coroutine[Any, Any, R]: ...
    def allows(self, number: int) -> bool:
        """May this further attempt be started? Asked in the moment in which it would be."""

    def wins(self, number: int, result: R | None, error: BaseException | None) -> bool:
        """Is this the answer, or is another one worth waiting for?"""

    def discard(self, result: R) -> object:
        """A good result that came too late. What is returned is awaited if it can be."""


class RaceState(Generic[R]):
    """One race: what has been started, what has come back, and who has won."""

    __slots__ = ("_entry", "_first", "_refused", "late", "running", "started", "winner")

    def __init__(self, entry: Racer[R]) -> None:
        self._entry = entry
        self._first: tuple[R | None, BaseException | None] | None = None
        self._refused = False
        self.running = self.started = 1
        self.winner: tuple[R | None, BaseException | None] | None = None
        self.late: list[R] = []

    def next(self, *, failed: bool = False) -> int | None:
        """The number of another attempt that is to be started now (one `failed` or is late), if one may be."""
        if self.winner is not None or self._refused or not (self.running or failed):
            return None
        try:
            allowed = self._entry.allows(self.started)
        except Exception as error:
            self._broke(error)
            return None
        if not allowed:
            self._refused = True
            return None
        number = self.started
        self.started += 1
        self.running += 1
        return number

    def arrived(self, number: int, result: R | None, error: BaseException | None) -> None:
        self.running -= 1
        if self.winner is not None:
            if error is None:
                self.late.append(cast(R, result))
            return
        try:
            won = self._entry.wins(number, result, error)
        except Exception as broken:
            self._broke(broken)
            won = False
        if won:
            self._end(result, error)
        elif self.winner is None and (number == 0 or self._entry.last):
            self.late += self._kept()
            self._first = result, error
        elif error is None:
            self.late.append(cast(R, result))

    def _broke(self, error: Exception) -> None:
        """Whoever judges the attempts raised: that ends the race, for nobody else would ever hear of it."""
        self._end(None, error)

    def _end(self, result: R | None, error: BaseException | None) -> None:
        self.winner = result, error
        self.late += self._kept()

    def _kept(self) -> list[R]:
        """The result that was kept in case that nobody wins."""
        first, self._first = self._first, None
        return [cast(R, first[0])] if first is not None and first[1] is None else []

    @property
    def over(self) -> bool:
        return self.winner is not None or self.running == 0

    def close(self) -> None:
        """Start no more."""
        self._refused = True

    def good(self) -> list[R]:
        """The result that would have been returned, for a race that nobody waits for any more."""
        if self.winner is None:
            return self._kept()
        return [cast(R, self.winner[0])] if self.winner[1] is None else []

    def outcome(self) -> R:
        """The winner's; if nobody has won, the first attempt's, or that of the last one home."""
        result, error = self.winner or self._first or (None, None)
        if error is not None:
            raise error
        return cast(R, result)


async def race(entry: Racer[R], run: Runtime) -> R:
    """Run attempt 0, and others as `entry` says; the winner's outcome, when all the others are home."""
    loop = _asyncio_loop()
    heat: RaceState[R] = RaceState(entry)
    try:
        if loop is not None and run is SYSTEM:
            await _on_asyncio(entry, heat, loop)
        else:
            await _on_anyio(entry, heat, run)
        if heat.late:
            await _discard(entry, heat.late)
    except BaseException:
        heat.late += heat.good()
        if heat.late:
            import anyio  # here and below: seldom needed, and slow to load

            with anyio.CancelScope(shield=True):
                await _discard(entry, heat.late)
        raise
    return heat.outcome()


async def _discard(entry: Racer[R], results: list[R]) -> None:
    """Discard them one by one; whoever is interrupted leaves those that are still to be discarded."""
    while results:
        thrown = entry.discard(results.pop(0))
        if isawaitable(thrown):
            await thrown


async def _on_asyncio(entry: Racer[R], heat: RaceState[R], loop: asyncio.AbstractEventLoop) -> None:
    runner = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    others: dict[asyncio.Task[R], int] = {}
    home: asyncio.Future[None] | None = None  # set once the first attempt has ended and others are still out
    cancelled = runner.cancelling()
    beaten, first_is_out = False, True
    alarms, alarm, context = alarms_of(loop), list[Any](), copy_context()

    def start(failed: bool = False) -> None:
        number = heat.next(failed=failed)
        if number is None:
            look()  # whoever was asked may have raised, which ends the race
            return
        task = loop.create_task(entry.attempt(number), context=context.copy())
        others[task] = number
        task.add_done_callback(ended)
        watch()

    def watch() -> None:
        nonlocal alarm
        unwatch()
        if entry.delay < inf:
            alarm = alarms.set(entry.delay, start)

    def unwatch() -> None:
        if alarm and alarm[RING] is not None:
            alarms.drop(alarm)

    def look() -> None:
        nonlocal beaten
        if heat.winner is not None and first_is_out and not beaten:
            beaten = True
            runner.cancel()
        if home is not None and not home.done() and (heat.over or not others):
            home.set_result(None)

    def ended(task: asyncio.Task[R]) -> None:
        number = others.pop(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        heat.arrived(number, None if error else task.result(), error)
        if heat.winner is None and entry.at_once:
            start(failed=True)
        look()

    watch()
    try:
        try:
            result = await entry.attempt(0)
        except Exception as error:
            heat.arrived(0, None, error)
        except asyncio.CancelledError:
            if not beaten or runner.uncancel() > cancelled:
                raise
            beaten = False
            heat.arrived(0, None, asyncio.CancelledError())
        else:
            heat.arrived(0, result, None)
        first_is_out = False
        if beaten:  # the attempt chose to finish all the same
            runner.uncancel()
        if heat.winner is None and entry.at_once:
            start(failed=True)
        if not heat.over:
            home = loop.create_future()
            await home
    finally:
        first_is_out = False
        heat.close()
        unwatch()
        if others:
            await _bring_home(others)


async def _bring_home(tasks: dict[asyncio.Task[R], int]) -> None:
    """Cancel them and wait until they have ended, even if we are cancelled ourselves meanwhile."""
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


async def _on_anyio(entry: Racer[R], heat: RaceState[R], run: Runtime) -> None:
    import anyio

    async with anyio.create_task_group() as group:
        over = anyio.Event()

        async def attempt(number: int) -> None:
            result: R | None = None
            failed: Exception | None = None
            try:
                result = await entry.attempt(number)
            except Exception as error:
                failed = error
            heat.arrived(number, result, failed)
            if heat.winner is None and entry.at_once:
                start(failed=True)
            if heat.over:
                over.set()

        async def alarm(number: int) -> None:
            await run.sleep_async(entry.delay)
            if heat.started == number:
                start()

        def start(failed: bool = False) -> None:
            number = heat.next(failed=failed)
            if number is not None:
                begin(number)
            elif heat.winner is not None:
                over.set()  # whoever was asked raised, which ends the race

        def begin(number: int) -> None:
            group.start_soon(attempt, number)
            if entry.delay < inf:
                group.start_soon(alarm, number + 1)

        begin(0)
        await over.wait()
        group.cancel_scope.cancel()
