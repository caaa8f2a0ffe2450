"""Who may have a connection, and who waits for one? The places of a pool, and the queue for them."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib.wire.h1_errors import PoolClosed, PoolFull, PoolTimeout, WireError

if TYPE_CHECKING:
    from meshlib.wire.h1_connection import Connection


class SlotQueue:
    """At most `most` places (None: any number), taken by connections and by attempts to open one.

    Whoever finds none free waits, first come, first served, at most `pending` of them (None: any number). `rest` gets
    a connection that was given to somebody who has just gone away. `name` is for error messages.
    """

    __slots__ = ("_empty", "_most", "_name", "_pending", "_rest", "taken", "waiting")

    def __init__(self, name: str, most: int | None, pending: int | None, rest: Callable[[Connection], None]) -> None:
        self._name = name
        self._rest = rest
        self._most = most
        self._pending = pending
        self.forget()

    def forget(self) -> None:
        """All places are free, and nobody waits."""
        self.taken: int = 0
        # A waiter's future gets an idle connection, or None for the right to open one.
        self.waiting: OrderedDict[asyncio.Future[Connection | None], None] = OrderedDict()
        self._empty: asyncio.Future[None] | None = None

    def take(self) -> bool:
        """Take a place, if one is free."""
        free = self._most is None or self.taken < self._most
        self.taken += free
        return free

    def free(self) -> None:
        """A place is free: for the exchange that has waited longest to open a connection in it, or for anyone."""
        if not self.hand(None):
            self.taken -= 1
            if not self.taken and self._empty is not None and not self._empty.done():
                self._empty.set_result(None)

    def hand(self, what: Connection | None) -> bool:
        """Give an idle connection, or the right to open one (None), to whoever has waited longest; False: to nobody."""
        while self.waiting:
            waiter, _ = self.waiting.popitem(last=False)
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(what)
                return True
        return False

    async def wait(self, patience: float | None) -> Connection | None:
        """An idle connection, or the right to open one (None), at the latest after `patience` seconds (None: any time).

        Raises PoolFull, PoolTimeout or PoolClosed.
        """
        if self._pending is not None and len(self.waiting) >= self._pending:
            raise PoolFull(f"{self._name}: {len(self.waiting)} exchanges wait for a connection already")
        loop = get_running_loop()
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self.waiting[waiter] = None
        timer = None if patience is None else loop.call_later(patience, self._out_of_patience, waiter)
        try:
            return await waiter
        except WireError:
            raise
        except BaseException:
            self.waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def empty(self, patience: float) -> None:
        """Wait until no place is taken, at most `patience` seconds."""
        if self.taken:
            self._empty = get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=patience)

    def close(self) -> None:
        """Whoever waits, waits in vain."""
        while self.waiting:
            waiter, _ = self.waiting.popitem()
            if not waiter.done():
                waiter.set_exception(PoolClosed(f"{self._name}: the client was closed"))

    def _give_back(self, what: Connection | None) -> None:
        if what is None:
            self.free()
        elif what.open:
            self._rest(what)

    def _out_of_patience(self, waiter: asyncio.Future[Connection | None]) -> None:
        if not waiter.done():
            self.waiting.pop(waiter, None)
            waiter.set_exception(PoolTimeout(f"{self._name}: no connection came free in time"))
