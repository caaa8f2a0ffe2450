"""How does an exchange over one connection end, and what becomes of the connection?

A connection is fresh, at rest in its pool, busy with one exchange, or over. It leaves "busy" in exactly one of two
ways: the whole response was read and nothing was left over, and then it may rest; or anything else happened (error,
time-out, cancellation, surplus bytes), and then it is closed. There is no third way, so nothing can poison a pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Final

from meshlib import forked
from meshlib.wire.exchange_timer import ExchangeTimer
from meshlib.wire.h1_errors import ReadError, RemoteProtocolError, WireError
from meshlib.wire.raw_response import RawResponse
from meshlib.wire.response_reader import ResponseReader
from meshlib.wire.socket_poll import Poll, at_end

# What a connection is busy with: nothing; an exchange; one of the usual kind, of whose answer nothing has come yet;
# one whose request waits in an outbox.
REST: Final = 0
BUSY: Final = 1
USUAL: Final = 2
HELD: Final = 3


class Stale(Exception):
    """An idle connection had died unseen: no byte of an answer came, or a 408 about its idle time. Nothing was sent, or
    it does no harm to send it again."""


class ExchangeEnd(ExchangeTimer):
    """What a connection knows, and how it ends what `Connection` has begun.

    `rested(self)` is called when it can take another exchange, `closed(self)` once when it never will; whoever catches
    `Stale` has been spared `closed` and keeps the place in the pool.
    """

    __slots__ = (
        "_asked", "_busy", "_closed", "_early", "_early_eof", "_error", "_first", "_heard", "_held_back", "_keep",
        "_paused", "_read", "_replayable", "_rested", "_sent", "_streaming", "_tls", "_unread", "_used", "_waiter",
        "open", "over", "place", "poll", "reader", "retires", "transport",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rested: Callable[[Any], None],
        closed: Callable[[Any], None],
    ) -> None:
        super().__init__(loop)
        self._rested = rested
        self._closed = closed
        self.reader: ResponseReader = ResponseReader()
        self._waiter: asyncio.Future[RawResponse] | None = None  # to be told of what comes next
        self._asked: asyncio.Future[RawResponse] | None = (
            None  # the last waiter of this exchange, told or not, till its end
        )
        self._busy = REST
        self._heard = self._sent = False
        self._used = self._keep = self._replayable = False
        self._read: float | None = None  # seconds for each wait for bytes
        self._first = True  # whether this is the connection's first exchange
        self._paused = False  # the transport has not yet taken the whole request
        self._streaming = False
        self._tls = False
        self._unread = False  # it was idle, over TLS, and something waits in its socket
        self._held_back = False  # we read nothing, because a stream's reader is behind
        self._early: list[bytes] = []  # what the server said before it was asked
        self._early_eof = False
        self._error: BaseException | None = None
        self.retires: float | None = None  # the loop's time from which on it is too old for another exchange
        self.open: bool = True  # False from the moment we decided to close
        self.over: bool = False  # True when the transport has let go of the socket
        self.place: bool = False  # whether it still counts against the pool's limit, though closed
        self.poll: Poll = at_end  # what waits in the socket
        self.transport: asyncio.Transport

    def _after_fork(self) -> None:
        """It is the parent's."""
        self.open = False
        self.place = False
        self._busy = REST
        self.by: float = inf
        self._waiter = self._asked = self._timer = None
        forked.disconnect(self.transport.get_extra_info("socket"))

    # An exchange comes to its end.

    def _finish(self) -> None:
        """The response is complete, and so is the request."""
        reader = self.reader
        answer = reader.answer
        assert answer is not None
        if self._streaming:
            answer.source = self, reader
            self.reader = ResponseReader()  # the other one stays with the stream, which may not have taken all of it
        else:
            answer.body = reader.take()
            answer.source = self
            reader.answer = None  # an idle connection keeps no body alive
        # While we read nothing, surplus may gather where `poll` does not see it: in the transport's own buffers.
        self._answer(answer, reader.reusable and not (self._early_eof or self._held_back))

    def _answer(self, answer: RawResponse, reusable: bool) -> None:
        """Rest, or close; and let who waits have the answer."""
        waiter, self._waiter = self._waiter, None
        self._asked = None
        self._busy = REST
        self.by = inf
        if reusable and self._keep and not self.transport.is_closing():
            self._rested(self)
        else:
            self.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _ended(self, error: WireError | None) -> None:
        """The server's side is at its end: properly (None), or by an error."""
        if self.reader.complete:
            self._finish()
            return
        try:
            if error is None and self.reader.eof():
                self._finish()
                return
        except RemoteProtocolError as complaint:
            error = complaint
        assert error is not None
        waiter = self._waiter
        if (
            not (self._first or self._heard)
            and (self._replayable or not self._sent)
            and waiter is not None
            and not waiter.done()
        ):
            self._stale(waiter)
        else:
            self.fail(error)

    def _stale(self, waiter: asyncio.Future[RawResponse]) -> None:
        """It was dead before the request came: whoever waits may send it over another connection, in this place."""
        waiter.set_exception(Stale())
        self.drop()
        self.place = True

    # Somebody ends it.

    def abandon(self, waiter: asyncio.Future[RawResponse]) -> None:
        """Nobody waits for this exchange any more. Does nothing if it has ended meanwhile.

        The head of a streamed answer is no end, though the waiter may have been told of it in this very turn.
        """
        if self._asked is waiter:
            if not self.loop.is_closed():
                waiter.cancel()
            self.close()
        elif self.place and not self.open:
            self.place = False
            self._closed(self)

    def forget(self, reader: ResponseReader) -> None:
        """Close, because the answer of `reader` is wanted no more; unless it has come whole, and another has begun."""
        if self.reader is reader:
            self.close()

    def close(self) -> None:
        """Close at once, whatever is going on."""
        if self.open:
            self.drop()
            self._closed(self)

    def fail(self, error: WireError) -> None:
        """End the exchange, if there is one, with `error`; and the connection."""
        if self._busy:
            self._busy = REST
            error.sent = self._sent
            waiter, self._waiter = self._waiter, None
            if waiter is None:
                self._error = error
            elif not waiter.done():
                waiter.set_exception(error)
        self.close()

    def drop(self) -> None:
        """Close at once, and keep the place in the pool for another connection."""
        self.open = False
        self.poll = at_end
        self._busy = REST
        waiter, self._waiter = self._waiter, None
        self._asked = None
        self.disarm()
        if self.loop.is_closed():
            return  # it has let go of the socket, or will when it is collected, and wakes nobody any more
        if waiter is not None and not waiter.done():
            waiter.set_exception(ReadError("the connection was closed", sent=self._sent))
        self.transport.abort()
