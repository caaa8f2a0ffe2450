"""Guarded network: a head guard on each connection of those transports of httpx's that we make.

httpx's transports read through a network backend of httpcore's, and hand to h11 what they have read. The guard stands
on the backend's streams, so it sees each byte before h11 does. A transport that the caller has made stays as it is.

A request goes out over no connection in which something waits: what came before it is not its answer. httpcore asks
that when it chooses a connection, and other tasks may run before it writes. So it is asked once more here, and httpcore
takes another connection if it was not to be.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from ...wire.h1_errors import RemoteProtocolError
from ...wire.head_guard import HeadGuard


def guarded(transport: Any, lib: Any) -> Any:
    """The same `transport`, with a guard on the connections that it opens from now on, if it is of `lib`'s own kind."""
    if type(transport) not in (lib.AsyncHTTPTransport, lib.HTTPTransport) or not hasattr(transport, "_pool"):
        return transport
    pool = transport._pool
    core = sys.modules[type(pool).__module__.partition(".")[0]]
    kind = _async_backend(core) if type(transport) is lib.AsyncHTTPTransport else _sync_backend(core)
    if not isinstance(pool._network_backend, kind):  # else: a copy of one that is guarded
        pool._network_backend = kind(pool._network_backend)
    return transport


class _Guarded:
    """A stream of httpcore's, and the guard that stands on it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._guard = HeadGuard()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _spoilt(self) -> bool:
        """Whether a request is about to begin although something waits: an answer to nothing, or the end."""
        return self._guard.between and bool(self._stream.get_extra_info("is_readable"))


class _Backend:
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def sleep(self, seconds: float) -> Any:
        return self._backend.sleep(seconds)


@cache
def _async_backend(core: Any) -> Any:
    class GuardedAsyncStream(_Guarded, core.AsyncNetworkStream):  # type: ignore[misc]
        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            data: bytes = await self._stream.read(max_bytes, timeout)
            try:
                self._guard.received(data)
            except RemoteProtocolError as error:
                raise core.RemoteProtocolError(str(error)) from error
            return data

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if self._spoilt():
                raise core.ConnectionNotAvailable
            self._guard.sent(buffer)
            await self._stream.write(buffer, timeout)

        async def start_tls(self, *args: Any, **how: Any) -> Any:
            return GuardedAsyncStream(await self._stream.start_tls(*args, **how))

        async def aclose(self) -> None:
            await self._stream.aclose()

    class GuardedAsyncBackend(_Backend, core.AsyncNetworkBackend):  # type: ignore[misc]
        async def connect_tcp(self, *args: Any, **how: Any) -> Any:
            return GuardedAsyncStream(await self._backend.connect_tcp(*args, **how))

        async def connect_unix_socket(self, *args: Any, **how: Any) -> Any:
            return GuardedAsyncStream(await self._backend.connect_unix_socket(*args, **how))

    return GuardedAsyncBackend


@cache
def _sync_backend(core: Any) -> Any:
    class GuardedStream(_Guarded, core.NetworkStream):  # type: ignore[misc]
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            data: bytes = self._stream.read(max_bytes, timeout)
            try:
                self._guard.received(data)
            except RemoteProtocolError as error:
                raise core.RemoteProtocolError(str(error)) from error
            return data

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if self._spoilt():
                raise core.ConnectionNotAvailable
            self._guard.sent(buffer)
            self._stream.write(buffer, timeout)

        def start_tls(self, *args: Any, **how: Any) -> Any:
            return GuardedStream(self._stream.start_tls(*args, **how))

        def close(self) -> None:
            self._stream.close()

    class GuardedBackend(_Backend, core.NetworkBackend):  # type: ignore[misc]
        def connect_tcp(self, *args: Any, **how: Any) -> Any:
            return GuardedStream(self._backend.connect_tcp(*args, **how))

        def connect_unix_socket(self, *args: Any, **how: Any) -> Any:
            return GuardedStream(self._backend.connect_unix_socket(*args, **how))

    return GuardedBackend
