"""How does one exchange travel over one connection? HTTP/1.1 on an asyncio transport.

An idle connection takes a request only if nothing waits in its socket, whatever the method: what came before a request
cannot be its answer. `poll` asks the kernel, because the event loop may not have had the time to read. How an exchange
ends, and what that means for the connection, is in `exchange_end`.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Final, cast

from meshlib.wire.exchange_end import BUSY, HELD, USUAL, ExchangeEnd
from meshlib.wire.h1_errors import ReadError, ReadTimeout, RemoteProtocolError, WriteTimeout
from meshlib.wire.raw_response import RawResponse, ResponseHead
from meshlib.wire.response_reader import tokens
from meshlib.wire.socket_poll import Poll, at_end, poller
from meshlib.wire.write_batch import WriteBatch

ONE_WRITE: Final = 64 * 1024  # bytes: a longer body is not copied behind its head
AT_ONCE: Final = 64 * 1024  # bytes to read from the socket in one go, as httpcore does
HELD_BACK: Final = 256 * 1024  # bytes of an unread streamed body at which we stop reading from the socket
TURNS: Final = 8  # of the event loop, in which it has surely read what waits in a TLS socket: asyncio needs two


class Connection(ExchangeEnd, asyncio.Protocol):
    """One connection to one server."""

    __slots__ = ()

    # Exchanges.

    def exchange(
        self,
        head: bytes,
        body: bytes,
        method: bytes,
        read: float | None,
        write: float | None,
        replayable: bool,
        keep: bool,
        streaming: bool,
        left: float = inf,
        outbox: WriteBatch | None = None,
    ) -> asyncio.Future[RawResponse]:
        """Send a request; the future gets the answer, with its body unless `streaming`. See Pool.exchange.

        All of it must be over in `left` seconds. With an `outbox`, which is for bodies up to `ONE_WRITE`, the request
        may go out a little later, and its connection is looked at then. Without one, a connection that was idle must
        have been found `usable` just now.
        """
        reader = self.reader
        if reader.fresh and method == reader.method:
            reader.request = head
        else:
            reader.begin(head, method)
        self._waiter = self._asked = waiter = self.loop.create_future()
        self._busy = BUSY
        self._heard = False
        self._read = read
        self._replayable = replayable
        self._keep = keep
        self._streaming = streaming
        if self._unread:
            self._unread = self._sent = False
            self._busy = HELD
            self.loop.call_soon(self.post, waiter, head + body, write)
        elif len(body) > ONE_WRITE:
            self._write(head)
            self._write(body)
        elif outbox is None or not self._used:
            self._write(head + body if body else head)
        else:
            self._sent = False
            self._busy = HELD
            outbox.put(self, waiter, head + body if body else head, write)
        seconds = write if self._paused else read
        now = self._time()
        self.by = by = now + left
        self._due = due = by if seconds is None or seconds >= left else now + seconds
        if due < self._armed:
            self._arm(due)
        if self._used:
            self._first = False
        else:
            self._used = True
            if self._early or self._early_eof or self.over:
                self._catch_up()
                return waiter
        if self._busy == BUSY and not (streaming or self._paused or reader.not_as_get):
            self._busy = USUAL
        return waiter

    def post(self, waiter: asyncio.Future[RawResponse], data: bytes, write: float | None, turns: int = TURNS) -> None:
        """The request that was held back goes out now, if its answer is still wanted and nothing waits in the socket.

        Over TLS what waits may be a record that is no data, such as a session ticket. Only who reads it knows, so the
        loop is given the time to: if it was data or the end, the exchange is no longer held when we come back.
        """
        if self._asked is not waiter or waiter.done():
            return
        if self.poll(0):
            if self._tls and turns:
                self.loop.call_soon(self.post, waiter, data, write, turns - 1)
            else:
                self._stale(waiter)
            return
        self._write(data)
        self._busy = BUSY if self._paused or self._streaming or self.reader.not_as_get else USUAL
        if self._paused:
            self.limit(write)

    def _write(self, data: bytes) -> None:
        transport = self.transport
        try:
            transport.write(data)
            # The first write goes to the socket at once; if that is refused, it closes the transport instead.
            self._sent = not transport.is_closing()
        except RuntimeError:  # uvloop, when the socket is closed already
            self._sent = False

    def patience(self, read: float | None) -> None:
        """Streaming: how long each wait for bytes may last from now on, in seconds."""
        self._read = read

    def more(self) -> asyncio.Future[RawResponse]:
        """Streaming: the future is done when there may be more in the reader. Raises what ended the exchange."""
        self._waiter = self._asked = waiter = self.loop.create_future()
        if self._busy:
            self.limit(self._read)
            if self._held_back:
                self._held_back = False
                self.transport.resume_reading()
        else:
            waiter.set_exception(self._error or ReadError("the connection was closed", sent=True))
        return waiter

    def readable(self) -> bool:
        """Whether something waits in the socket: data, its end, or over TLS a record that is neither."""
        return bool(self.poll(0))

    def usable(self) -> bool:
        """Whether this idle connection may be given to `exchange`, at once: nothing that came before waits in it.

        What waits in a TLS socket may be a session ticket. Such a connection is usable, too, and `exchange` finds out.
        """
        if not self.poll(0):
            return True
        self._unread = self._tls
        return self._tls

    def _hand_out(self) -> None:
        """Streaming: tell who waits that something came."""
        reader = self.reader
        waiter = self._waiter
        if waiter is None:
            self._hold_back()
        elif reader.answer is None:
            self.limit(self._read)
        else:
            self._waiter = None
            self.limit(None)  # the time that the stream's reader takes does not count
            reader.answer.source = self, reader
            if not waiter.done():
                waiter.set_result(reader.answer)

    def _hold_back(self) -> None:
        if self._streaming and self.reader.held > HELD_BACK:
            self._held_back = True
            self.transport.pause_reading()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(0)  # so that "paused" means exactly: not all is sent yet
        self._tls = transport.get_extra_info("ssl_object") is not None
        if not self._tls:  # else it is the same socket still, if it is open at all
            self.poll = poller(transport.get_extra_info("socket").fileno())
        # asyncio asks for 256 KiB at each read, which the C library maps and unmaps each time: 10 to 20 µs.
        if getattr(transport, "max_size", 0) > AT_ONCE:
            transport.max_size = AT_ONCE  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._busy == USUAL:
            # Nothing of the answer has come, nobody wants it piecemeal, and the request is out: if this is all of it,
            # and its head is the last one over again, the reader has nothing to find out.
            known = self.reader.known
            if known is not None and len(data) == known.size and data.startswith(known.bytes):
                self._answer(RawResponse(known.head, data[len(known.bytes) :], self), known.reusable)
                return
            self._busy = BUSY
        elif self._busy == HELD:
            # It came before the request has left, so it is not its answer: the server is giving the connection up.
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                self._stale(waiter)
            else:
                self.close()
            return
        elif not self._busy:
            if self._used:
                self.close()  # nobody asked
            else:
                self._early.append(data)
            return
        self._heard = True
        try:
            complete = self.reader.feed(data)
        except RemoteProtocolError as error:
            self.fail(error)
            return
        answer = self.reader.answer
        if answer is not None and answer.head.status == 408 and self._ends_stale(answer.head):
            return
        if self._paused:  # an early answer counts when the request is out, as in httpcore
            self._hold_back()
            return
        if complete:
            self._finish()
        elif self._streaming:
            self._hand_out()
        else:
            if answer is not None and not answer.heard:
                answer.heard = monotonic()
            self.limit(self._read)

    def _ends_stale(self, head: ResponseHead) -> bool:
        """End the exchange as stale if this 408 is about the idle time of the connection; False: it is the answer.

        A 408 that closes a used connection has crossed the request, most likely: the server gave the connection up
        before the request came. A request that may be repeated is (RFC 9110, section 15.5.9). Any other may have been
        received, and is never sent twice.
        """
        waiter = self._waiter
        if self._first or not self._replayable or waiter is None or waiter.done():
            return False
        named = [token for name, value in head.headers if name.lower() == b"connection" for token in tokens(value)]
        if b"close" not in named and (head.http_version != b"HTTP/1.0" or b"keep-alive" in named):
            return False
        self._stale(waiter)
        return True

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.loop.call_soon(self._written)  # asyncio's transport breaks when it is closed from within this call

    def _written(self) -> None:
        if not self._busy or self._paused:
            return
        if self.reader.complete:
            self._finish()
        elif self._early_eof:
            self._ended(None)
        else:
            self.limit(self._read)
            if self._streaming:
                self._hand_out()

    def eof_received(self) -> bool:
        """True keeps our side open: to send what is left of a request, or the first one."""
        half_open = self.transport.get_extra_info("ssl_object") is None
        if self._busy and not self._paused:
            self._ended(None)
        elif self._busy or not self._used:
            self._early_eof = True
            return half_open
        else:
            self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.poll: Poll = at_end
        if self._busy:
            self._ended(None if exc is None else ReadError(str(exc)))
        elif self._used:
            self.close()
        else:
            self._error = exc

    def _catch_up(self) -> None:
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        if self._busy and self.over:
            self._ended(None if self._error is None else ReadError(str(self._error)))
        elif self._busy and self._early_eof and not self._paused:
            self._ended(None)

    def expired(self) -> None:
        if not self._busy:
            self.close()
        elif self._paused:
            self.fail(WriteTimeout("the request was not taken in time"))
        else:
            self.fail(ReadTimeout("no answer in time"))
