"""How is a long body read, piece by piece? The streaming form of an answer."""

from __future__ import annotations

from types import EllipsisType

from meshlib.wire.h1_connection import Connection
from meshlib.wire.h1_errors import WireError
from meshlib.wire.raw_response import RawResponse
from meshlib.wire.response_reader import ResponseReader

from .raw_response import ResponseHead


class Stream:
    """An answer whose body is still coming: `async for piece in stream`, and `await stream.aclose()` in any case.

    A reader that is slow makes the server wait: no more than about 256 KiB lie here unread. Pieces come as the network
    delivers them. A body that breaks raises what `Pool.exchange` would raise.
    """

    __slots__ = ("_reader", "connection", "head")

    def __init__(self, answer: RawResponse, connection: Connection, reader: ResponseReader) -> None:
        self.head: ResponseHead = answer.head
        self.connection: Connection = connection
        self._reader = reader

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        return await self.next()

    async def next(self, read: float | EllipsisType | None = ...) -> bytes:
        """The next piece; `read` is the limit for each wait from now on, in seconds. StopAsyncIteration at the end."""
        reader = self._reader
        while not reader.held:
            if reader.complete:  # and the connection is another exchange's by now
                raise StopAsyncIteration
            if not isinstance(read, EllipsisType):
                self.connection.patience(read)
            waiter = self.connection.more()
            try:
                await waiter
            except WireError:
                raise
            except BaseException:
                self.connection.abandon(waiter)
                raise
        return reader.take()

    async def aclose(self) -> None:
        """Close the connection, unless the body has come whole. Safe to call again."""
        if not self._reader.complete:
            self.connection.close()

    def __del__(self) -> None:
        # Forgotten half-read: without this its place in the pool would be lost for good.
        connection = self.connection
        if not self._reader.complete and connection.open and not connection.loop.is_closed():
            connection.loop.call_soon_threadsafe(connection.forget, self._reader)
