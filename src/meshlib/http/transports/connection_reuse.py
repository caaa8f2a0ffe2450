"""Reuse on httpx's transports: what httpcore does not ask of a connection before its next request.

httpcore looks whether something waits in the socket (and so does `guarded_network`). What it has read already it does
not look at: a second answer that came in one piece with the first lies in h11's buffer, in that of the TLS object or in
anyio's queue, and would be the answer to the next request. Here each answer's end is looked at, and a connection that
holds more is closed. For connections of our own, `wire` sees to all of it.

This reads what is private in httpcore and anyio, as there is no other way to it. Whatever is not there (HTTP/2, a mock)
is left alone.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ...wire.response_reader import tokens
from .httpx_pools import AsyncLeakSweeper


def close_on_surplus(response: Any) -> None:
    """Have the connection of `response` closed with it, if its server has said more than this answer."""
    stream = _of_pool(response)
    if stream is not None:
        stream._stream = CheckedStream(stream._stream)


def is_idle_timeout(response: Any) -> bool:
    """Whether this is a 408 about the idle time of its connection, and not about the request. See `h1_connection`."""
    if response.status_code != 408:
        return False
    stream = _of_pool(response)
    if stream is None or stream._stream._connection._request_count < 2:
        return False
    return b"close" in tokens(response.headers.get("connection", "").encode())


def _of_pool(response: Any) -> Any:
    """httpcore's stream of a body that comes over HTTP/1.1; None for any other."""
    stream = response.stream
    if isinstance(stream, AsyncLeakSweeper):
        stream = stream._stream
    stream = getattr(stream, "_httpcore_stream", None)
    connection = getattr(getattr(stream, "_stream", None), "_connection", None)
    return stream if hasattr(connection, "_h11_state") else None


class CheckedStream:
    """httpcore's stream of a body over HTTP/1.1, within the one of its pool."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()  # type: ignore[no-any-return]

    def close(self) -> None:
        _check(self._stream._connection)
        self._stream.close()

    async def aclose(self) -> None:
        _check(self._stream._connection)
        await self._stream.aclose()


def _check(connection: Any) -> None:
    """Spoil a connection that holds more than the answer that has just come whole: httpcore will close it."""
    from h11 import DONE  # httpcore has loaded it by now

    state = connection._h11_state
    if state.their_state is DONE and (state.trailing_data != (b"", False) or _holds_more(connection._network_stream)):
        state.send_failed()


def _holds_more(network: Any) -> bool:
    """Whether anything was read from the socket that h11 has not been given."""
    tls = network.get_extra_info("ssl_object")
    if isinstance(tls, ssl.SSLObject):  # over a buffer in memory: of anyio, of trio, or within another TLS
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            pass  # there was nothing, or no data: a session ticket
        except ssl.SSLError:
            return True
        else:
            return True  # data, or the end
    elif tls is not None and tls.pending():
        return True
    return is_queued(network)


def is_queued(network: Any) -> bool:
    """Whether something that was read from the socket lies in anyio's queue, as it may on asyncio."""
    stream = network
    while stream is not None:
        if getattr(getattr(stream, "_protocol", None), "read_queue", None):  # anyio's, on asyncio
            return True
        stream = getattr(stream, "_stream", None) or getattr(stream, "transport_stream", None)
    return False
