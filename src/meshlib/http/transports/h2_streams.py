"""Watched streams: httpcore's network streams, which show a `Link` what passes.

httpcore asks a network backend for the stream of a connection, so a backend of ours stands in between. Async and sync
differ in `await`, and in what threads need: one of them reads while another one writes, and OpenSSL's connections are
not made for that.
"""

from __future__ import annotations

import select
import ssl
import time
from threading import Lock
from typing import Any, Final

from ...wire.h2_link import NOTHING, Link
from .connection_reuse import is_queued

_PATIENCE: Final = 0.05  # seconds for bytes that have come, where they are only a part of a TLS record
_MOMENT: Final = 0.001  # seconds


class _Backend:
    """What makes the streams of one connection."""

    def __init__(self, backend: Any, link: Link, core: Any) -> None:
        self._backend = backend
        self._link = link
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class AsyncBackend(_Backend):
    async def connect_tcp(self, *args: Any, **how: Any) -> Any:
        return AsyncStream(await self._backend.connect_tcp(*args, **how), self._link, self._core)

    async def connect_unix_socket(self, *args: Any, **how: Any) -> Any:
        return AsyncStream(await self._backend.connect_unix_socket(*args, **how), self._link, self._core)


class SyncBackend(_Backend):
    def connect_tcp(self, *args: Any, **how: Any) -> Any:
        return SyncStream(self._backend.connect_tcp(*args, **how), self._link, self._core)

    def connect_unix_socket(self, *args: Any, **how: Any) -> Any:
        return SyncStream(self._backend.connect_unix_socket(*args, **how), self._link, self._core)


class _Stream:
    def __init__(self, stream: Any, link: Link, core: Any) -> None:
        self._stream = stream
        self._link = link
        self._core = core
        self._socket = stream.get_extra_info("socket")

    def _at_once(self) -> bytes | None:
        """What httpcore reads without waiting for the server; None: it has to wait."""
        link = self._link
        data = link.take()
        if data or not link.ended:
            return data or (NOTHING if link.hurry() else None)
        if link.goaway is not None:
            raise self._core.RemoteProtocolError(link.goaway)
        return b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class AsyncStream(_Stream):
    def __init__(self, stream: Any, link: Link, core: Any) -> None:
        super().__init__(stream, link, core)
        self._tls = stream.get_extra_info("ssl_object")

    async def start_tls(self, *args: Any, **how: Any) -> Any:
        return AsyncStream(await self._stream.start_tls(*args, **how), self._link, self._core)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        link = self._link
        if not link.http2:
            return await self._stream.read(max_bytes, timeout)  # type: ignore[no-any-return]
        while (data := self._at_once()) is None:
            try:
                link.received(await self._stream.read(max_bytes, timeout))
            except self._core.ReadError:
                if link.goaway is None:
                    raise
                link.received(b"")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        link = self._link
        if not buffer:
            return
        if link.resting:
            await self._look()
        data = link.sending(buffer)
        if data:
            await self._stream.write(data, timeout)

    async def _look(self) -> None:
        """Before an idle connection is used again: read what the server has said since, or that it has gone."""
        link = self._link
        while link.resting:
            held = self._held()
            if held is not None:
                link.received(held)
                continue
            if not (_ready(self._socket, seconds=0.0) or is_queued(self._stream)):
                return
            try:
                link.received(await self._stream.read(65536, _PATIENCE))
            except self._core.ReadTimeout:
                return
            except self._core.ReadError:
                link.received(b"")

    def _held(self) -> bytes | None:
        """What TLS has read from the socket and not handed out; b"": the end; None: nothing."""
        if not isinstance(self._tls, ssl.SSLObject):
            return None
        try:
            return self._tls.read(65536)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            return b""


class SyncStream(_Stream):
    def __init__(self, stream: Any, link: Link, core: Any) -> None:
        super().__init__(stream, link, core)
        self._tls = Lock() if stream.get_extra_info("ssl_object") is not None else None

    def start_tls(self, *args: Any, **how: Any) -> Any:
        return SyncStream(self._stream.start_tls(*args, **how), self._link, self._core)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        link = self._link
        if not link.http2:
            return self._stream.read(max_bytes, timeout)  # type: ignore[no-any-return]
        while (data := self._at_once()) is None:
            try:
                link.received(self._receive(max_bytes, timeout))
            except self._core.ReadError:
                if link.goaway is None:
                    raise
                link.received(b"")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        link = self._link
        if link.hurrying:
            time.sleep(_MOMENT)  # httpcore's lock is not fair: without it this thread would be the next to read, too
        if not buffer:
            return
        if link.resting:
            self._look()
        data = link.sending(buffer)
        if self._tls is not None and link.http2:
            self._send(self._tls, data, timeout)
        elif data:
            self._stream.write(data, timeout)

    def _look(self) -> None:
        """Before an idle connection is used again: read what the server has said since, or that it has gone."""
        link = self._link
        while link.resting and (self._held() or _ready(self._socket, seconds=0.0)):
            try:
                link.received(self._receive(65536, _PATIENCE))
            except self._core.ReadTimeout:
                return
            except self._core.ReadError:
                link.received(b"")

    def _held(self) -> bool:
        """Whether TLS has read something from the socket, and not handed it out."""
        if self._tls is None:
            return False
        with self._tls:
            return self._socket.pending() > 0  # type: ignore[no-any-return]

    def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        """Read. With TLS, writers are kept out only while there are bytes, or they would wait as long as the server."""
        tls = self._tls
        if tls is None:
            return self._stream.read(max_bytes, timeout)  # type: ignore[no-any-return]
        due = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._held() and not _ready(self._socket, seconds=_left(due)):
                raise self._core.ReadTimeout("no answer in time")
            try:
                with tls:
                    return self._stream.read(max_bytes, _MOMENT)  # type: ignore[no-any-return]
            except self._core.ReadTimeout:
                pass  # only a part of a record had come, or one that TLS keeps to itself

    def _send(self, tls: Lock, data: bytes, timeout: float | None) -> None:
        """Write over TLS. Readers are kept out only while there is room, or two sides could wait for each other."""
        due = None if timeout is None else time.monotonic() + timeout
        left = memoryview(data)
        while left:
            try:
                with tls:
                    self._socket.settimeout(_MOMENT)
                    left = left[self._socket.send(left) :]
            except TimeoutError:
                if not _ready(self._socket, write=True, seconds=_left(due)):
                    raise self._core.WriteTimeout("the request was not taken in time") from None
            except OSError as error:
                raise self._core.WriteError(error) from error


def _left(due: float | None) -> float | None:
    return None if due is None else max(0.0, due - time.monotonic())


def _ready(sock: Any, *, write: bool = False, seconds: float | None) -> bool:
    """Wait up to `seconds` (None: for ever) until `sock` can be read from, or written to. One that is closed can."""
    number = sock.fileno()
    if number < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        ways = ([], [number]) if write else ([number], [])
        return any(select.select(*ways, [], seconds))
    poll = select.poll()
    poll.register(number, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
