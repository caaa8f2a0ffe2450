"""An HTTP/2 server that does to a connection what a test says: answers, GOAWAY, RST_STREAM, or the end."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import GoAwayFrame, RstStreamFrame

from support.scripted import Peer

NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0, 1, 7, 11
EVERY_STREAM = 0x7FFFFFFF


class Request:
    """A request whose headers have come. `name` is its path without the slash."""

    def __init__(self, stream: int, method: str, path: str) -> None:
        self.stream = stream
        self.method = method
        self.name = path[1:]
        self.body = b""


class Session:
    """One connection: `async for request in session` gives each request when it is complete."""

    def __init__(self, peer: Peer, upstream: Upstream) -> None:
        self.peer = peer
        self.number = peer.number
        self._upstream = upstream
        how = h2.config.H2Configuration(client_side=False, header_encoding="ascii")
        self.h2 = h2.connection.H2Connection(how)
        self.begun: list[Request] = []  # whose headers have come
        self._requests: dict[int, Request] = {}
        self._headers: asyncio.Queue[Request] = asyncio.Queue()
        self._complete: asyncio.Queue[Request | None] = asyncio.Queue()

    async def pump(self) -> None:
        self.h2.initiate_connection()
        self._write()
        while data := await self.peer.reader.read(65536):
            for event in self.h2.receive_data(data):
                self._happened(event)
            self._write()
        self._complete.put_nowait(None)

    def _happened(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers: Any = dict(event.headers)
            request = Request(event.stream_id, headers[":method"], headers[":path"])
            self._requests[event.stream_id] = request
            self.begun.append(request)
            self._headers.put_nowait(request)
        elif isinstance(event, h2.events.DataReceived):
            self._requests[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete.put_nowait(self._requests[event.stream_id])

    async def __aiter__(self) -> AsyncIterator[Request]:
        while (request := await self._complete.get()) is not None:
            yield request

    async def next_headers(self) -> Request:
        """The next request, as soon as its headers have come."""
        return await self._headers.get()

    async def next(self) -> Request:
        """The next complete request. The end of the connection is an error."""
        request = await self._complete.get()
        if request is None:
            raise ConnectionError("the client has gone")
        return request

    def process(self, request: Request) -> None:
        """The application has it: from here on, once more would be once too often."""
        self._upstream.processed[request.name] += 1
        self._upstream.news.set()

    def answer(self, request: Request, body: bytes = b"ok", *, process: bool = True) -> None:
        if process:
            self.process(request)
        self.begin(request)
        self.data(request, body, end=True)

    def begin(self, request: Request, status: int = 200) -> None:
        self.h2.send_headers(request.stream, [(":status", str(status))])
        self._write()

    def data(self, request: Request, body: bytes, *, end: bool = False) -> None:
        self.h2.send_data(request.stream, body, end_stream=end)
        self._write()

    def goaway(self, last: int, code: int = NO_ERROR) -> None:
        """Tell the client; the connection itself stays, for the streams up to `last`."""
        self._raw(GoAwayFrame(0, last_stream_id=last, error_code=code))

    def reset(self, request: Request, code: int = REFUSED_STREAM) -> None:
        self._raw(RstStreamFrame(request.stream, error_code=code))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is written within in one piece, though in TLS records of their own (where the system can)."""
        cork = getattr(socket, "TCP_CORK", None)
        sock = self.peer.writer.get_extra_info("socket")
        if cork is not None:
            sock.setsockopt(socket.IPPROTO_TCP, cork, 1)
        yield
        if cork is not None:
            sock.setsockopt(socket.IPPROTO_TCP, cork, 0)

    def close(self) -> None:
        """End our side of the connection, at once. What the client still sends is read, and not answered."""
        self.peer.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def _raw(self, frame: Any) -> None:
        self._write()
        self.peer.writer.write(frame.serialize())

    def _write(self) -> None:
        self.peer.writer.write(self.h2.data_to_send())


Script = Callable[[Session], Awaitable[None]]


class Upstream:
    """What a `served` endpoint runs. The first connection runs the first script, and so on; all further ones the last.

    `processed` counts the requests by name; `news` is set whenever one was added.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.processed: Counter[str] = Counter()
        self.sessions: list[Session] = []
        self.news = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        session = Session(peer, self)
        self.sessions.append(session)
        pump = asyncio.create_task(session.pump())
        try:
            await self._scripts[min(peer.number, len(self._scripts) - 1)](session)
            await pump  # until the client, too, has closed
        finally:
            pump.cancel()

    async def until(self, number: int) -> None:
        """Wait until `number` requests were processed."""
        while sum(self.processed.values()) < number:
            self.news.clear()
            await self.news.wait()


async def answering(session: Session) -> None:
    async for request in session:
        session.answer(request)


def goaway_every(number: int) -> Script:
    """Process the first `number` requests of each connection, and none beyond; some answers come after the GOAWAY."""

    async def script(session: Session) -> None:
        last = EVERY_STREAM
        async for request in session:
            if last == EVERY_STREAM and len(session.begun) >= number:
                last = session.begun[number - 1].stream
                session.goaway(last)
            if request.stream <= last:
                session.answer(request)

    return script
