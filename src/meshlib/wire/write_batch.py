"""When does a request go out? At once, or in a crowd: together with the others of this turn of the event loop.

A server that waits for requests is asleep, and whoever sends it one has to wake it. Where it shares the machine that
costs the sender more than the sending itself: 3 to 7 µs, measured as time in the kernel. Requests that leave one right
after the other wake it once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshlib.wire.h1_connection import Connection
    from meshlib.wire.raw_response import RawResponse

CROWD: Final = 8  # exchanges under way, from which on it pays to wait for the end of the turn
MOST: Final = 16  # requests that go out together: the first of them shall not wait long for the last


class WriteBatch:
    """The requests of one client that go out when this turn of `loop` ends, or when there are `MOST` of them."""

    __slots__ = ("_letters", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: list[tuple[Connection, asyncio.Future[RawResponse], bytes, float | None]] = []

    def put(
        self, connection: Connection, waiter: asyncio.Future[RawResponse], data: bytes, write: float | None
    ) -> None:
        """Have `connection` post `data` soon, for the exchange of `waiter`. `write` as in `Pool.exchange`."""
        letters = self._letters
        if not letters:
            self._loop.call_soon(self._empty)
        letters.append((connection, waiter, data, write))
        if len(letters) == MOST:
            self._empty()

    def _empty(self) -> None:
        letters, self._letters = self._letters, []
        for connection, waiter, data, write in letters:
            connection.post(waiter, data, write)
