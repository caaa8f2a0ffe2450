"""Watched connections: httpcore's connections, with a `Link` between their HTTP/2 and the network.

The link knows what the server has said about each stream. The pool therefore leaves a connection alone that is closing,
and a request that fails carries the refusal if the server did not process it. httpcore and httpcore2 are alike in all
that is used here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock, RLock
from typing import Any, Final

from ...wire.h2_link import Link
from .h2_streams import AsyncBackend, SyncBackend

_INIT: Final = "http2.send_connection_init.started"
_STREAM: Final = "http2.send_request_headers.started"
_BEGUN: Final = frozenset({"http2.send_request_headers.complete", "http11.send_request_headers.started"})
_WRITTEN: Final = frozenset({"http2.send_request_body.started", "http2.receive_response_headers.started"})


def watched(transport: Any, lib: Any) -> None:
    """Watch the connections that `transport` opens from now on, if it is of `lib`'s own kind and uses no proxy."""
    if type(transport) not in (lib.AsyncHTTPTransport, lib.HTTPTransport):
        return
    pool = getattr(transport, "_pool", None)
    if pool is None or hasattr(pool, "_proxy_url"):
        return
    core = sys.modules[type(pool).__module__.partition(".")[0]]
    create, kind = pool.create_connection, AsyncWatched if type(transport) is lib.AsyncHTTPTransport else SyncWatched
    pool.create_connection = lambda origin: kind(create(origin), core)


class _Trace:
    """The `trace` extension of one request, by which httpcore reports its progress. The caller's own is called too."""

    __slots__ = ("_core", "_link", "_theirs", "stream")

    def __init__(self, link: Link, core: Any, theirs: Any) -> None:
        self._link = link
        self._core = core
        self._theirs = theirs
        self.stream = 0  # until the request has one

    def refusal(self) -> Any:
        """The error for a request that the server did not process; None: it did, or may have."""
        refusal = self._link.refusal(self.stream) if self.stream else None
        return None if refusal is None else self._core.RemoteProtocolError(refusal)

    def failed(self) -> None:
        if self.stream:
            self._link.forget(self.stream)

    def _progress(self, name: str, info: dict[str, Any]) -> None:
        if name == _STREAM:
            self.stream = info["stream_id"]
            if self._link.closing:
                raise self._core.ConnectionNotAvailable  # the pool then chooses another connection
        elif name in _WRITTEN:
            refusal = self.refusal()
            if refusal is not None:  # raised here, while the body is still whole
                raise refusal

    async def report_async(self, name: str, info: dict[str, Any]) -> None:
        self._progress(name, info)
        if self._theirs is not None:
            await self._theirs(name, info)


class _ThreadTrace(_Trace):
    """The same for a thread, which holds `turn` until its request has begun."""

    __slots__ = ("_connection", "_turn")

    def __init__(self, link: Link, core: Any, theirs: Any, connection: Any, turn: Lock) -> None:
        super().__init__(link, core, theirs)
        self._connection = connection
        self._turn: Lock | None = turn

    def report(self, name: str, info: dict[str, Any]) -> Any:
        if name == _INIT:
            connection = self._connection._connection
            connection._h2_state = _Serialized(connection._h2_state)
        elif name in _BEGUN:
            self.end_turn()
        self._progress(name, info)
        return None if self._theirs is None else self._theirs(name, info)

    def end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()


class _Watched:
    """What httpcore's pool asks of a connection."""

    _backend: Callable[..., Any]

    def __init__(self, connection: Any, core: Any) -> None:
        self._connection = connection
        self._core = core
        self._link = Link()
        connection._network_backend = self._backend(connection._network_backend, self._link, core)
        self._errors = core.ProtocolError, core.NetworkError, core.TimeoutException

    def is_available(self) -> bool:
        return not self._link.closing and self._connection.is_available()

    def has_expired(self) -> bool:
        return self._connection.has_expired() or (self._link.closing and self._connection.is_idle())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class AsyncWatched(_Watched):
    """A connection of an async pool."""

    _backend = AsyncBackend

    async def handle_async_request(self, request: Any) -> Any:
        extensions = request.extensions
        trace = _Trace(self._link, self._core, extensions.get("trace"))
        request.extensions = {**extensions, "trace": trace.report_async}
        try:
            return await self._connection.handle_async_request(request)
        except self._errors as error:
            refusal = trace.refusal()
            trace.failed()
            if refusal is None:
                raise
            raise refusal from error
        except BaseException:
            trace.failed()
            raise
        finally:
            request.extensions = extensions


class SyncWatched(_Watched):
    """A connection of a sync pool.

    httpcore lets threads share an HTTP/2 connection, but h2 is not thread-safe: two threads may get the same stream, or
    lose bytes that both prepare to send. Here threads open streams one after the other, and call h2 one at a time.
    """

    _backend = SyncBackend

    def __init__(self, connection: Any, core: Any) -> None:
        super().__init__(connection, core)
        self._turn = Lock()

    def handle_request(self, request: Any) -> Any:
        extensions = request.extensions
        self._turn.acquire()
        trace = _ThreadTrace(self._link, self._core, extensions.get("trace"), self._connection, self._turn)
        request.extensions = {**extensions, "trace": trace.report}
        try:
            return self._connection.handle_request(request)
        except self._errors as error:
            refusal = trace.refusal()
            trace.failed()
            if refusal is None:
                raise
            raise refusal from error
        except BaseException:
            trace.failed()
            raise
        finally:
            trace.end_turn()
            request.extensions = extensions


class _Serialized:
    """h2's connection, whose methods threads call one at a time."""

    def __init__(self, connection: Any) -> None:
        self.__dict__.update(_connection=connection, _lock=RLock())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if not callable(found):
            return found

        def called(*args: Any, **how: Any) -> Any:
            with self._lock:
                return found(*args, **how)

        return called

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._connection, name, value)
