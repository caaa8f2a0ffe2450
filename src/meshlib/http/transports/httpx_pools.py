"""Which of httpx's transports carries the mesh's requests?

The caller's own `transport=` or `mounts=` carries them as it carries all others. Where he gave none, the mesh has
connections of its own (`Pools`), because httpx 0.28's pool dies of cancelled requests once it has a limit (httpcore
issue 1093), and every deadline and hedge cancels. So theirs have no limit, and what cancelled requests leave behind is
swept up (`LeakSweeper`). The bulkhead bounds calls in flight; a `max_connections` that the caller asked for himself is
kept by a `ConnectionLimit` in front.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

from ... import forked
from ...balancing import Endpoint
from ...errors import DeadlineExceeded
from ...loop_state import loop_state, loops_with_state
from ...policies.concurrency.bulkhead import Bulkhead
from ...runtime import Runtime


class Pools:
    """The mesh's own connections beneath one client: a pool for each name that certificates are checked against.

    The name matters: to the transport two services behind one address look the same, and a connection that was
    verified for one must not carry requests for the other. Each Unix socket has a pool too. An event loop never sees
    the connections of another one, nor a forked process those of its parent.
    """

    __slots__ = ("_make", "_ours", "_pools", "_process")

    def __init__(self, make: Callable[[str | None, str], Any]) -> None:
        self._make = make  # builds a transport: to a Unix socket if it is given a path, and for certificates of a name
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._ours = _Ours()  # asyncio's loops keep their transports themselves, as long as this lives
        self._pools: dict[Any, dict[tuple[str, str], Any]] = {}  # those beneath threads (None), and trio's

    def _after_fork(self) -> None:
        of_loops = [loop_state(loop).get("pools", {}).get(self._ours, {}) for loop in loops_with_state()]
        for pools in (*of_loops, *self._pools.values()):
            for transport in pools.values():
                leave_to_parent(getattr(transport, "_transport", transport))
        self._begin()

    def transport(self, wire: Any, endpoint: Endpoint, loop: Any = None) -> Any:
        """The transport for `wire` to `endpoint`, within `loop`."""
        path = endpoint.host[5:] if endpoint.host.startswith("unix:") else ""
        key = wire.extensions.get("sni_hostname", ""), path
        pools = self._in(loop)
        transport = pools.get(key)
        if transport is None:
            transport = pools.setdefault(key, self._make(path or None, key[0]))
        return transport

    def of(self, loop: Any = None) -> list[Any]:
        """All transports of `loop`, for whoever closes them. They stay here: an attempt that ends later closes again
        what it may have opened."""
        return list(self._in(loop).values())

    def _in(self, loop: Any) -> dict[tuple[str, str], Any]:
        if self._process != os.getpid():
            forked.catch_up()
            self._begin()
        if isinstance(loop, asyncio.AbstractEventLoop):
            kept: WeakKeyDictionary[_Ours, dict[tuple[str, str], Any]] = loop_state(loop).setdefault(
                "pools", WeakKeyDictionary()
            )
            return kept.setdefault(self._ours, {})
        pools = self._pools.get(loop)
        if pools is None:
            for other in [other for other in self._pools if other is not None and _over(other)]:
                self._pools.pop(other, None)
            pools = self._pools.setdefault(loop, {})
        return pools


def leave_to_parent(transport: Any) -> None:
    """In a forked child: leave the connections of one of httpx's own transports to the parent."""
    for connection in list(getattr(getattr(transport, "_pool", None), "_connections", ())):
        within = connection
        while within is not None:  # a tunnel is a connection within a connection
            stream = getattr(within, "_network_stream", None)
            try:
                forked.disconnect(None if stream is None else stream.get_extra_info("socket"))
            except Exception:
                pass  # a stream of somebody else's making, or one that was closed
            within = getattr(within, "_connection", None)


class _Ours:
    """The key under which loops keep what is one client's."""

    __slots__ = ("__weakref__",)


class LeakSweeper:
    """httpx 0.28's async transport, without the sockets that its pool forgets. (httpx2's pool forgets none.)

    A request that is cancelled after its connection was made and before it was used leaves it in the pool, open, and
    never to be used or closed again. So does one that is cancelled while its response is closed, or whose response is
    dropped. Nobody owns such a connection, and it is not at rest either: that is how it is found.
    """

    __slots__ = ("_dead", "_family", "_torn", "_transport", "abandoned")
    EVERY = 16  # torn requests, of which about one in ten leaves something behind

    def __init__(self, transport: Any, family: Any) -> None:
        self._transport = transport
        self._family = family
        self._torn = 0
        self._dead: list[Any] = []  # connections that nobody owns, still to be closed
        self.abandoned: list[Any] = []  # the pool's own streams of responses that were never quite closed

    async def handle_async_request(self, request: Any) -> Any:
        if self._torn >= self.EVERY or self.abandoned or self._dead:
            await self._sweep()
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            self._torn += 1
            raise
        if hasattr(getattr(response.stream, "_httpcore_stream", None), "_pool_request"):  # else: a mock's
            response.stream = self._family.AsyncLeakSweeper(response.stream, self.abandoned)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _sweep(self) -> None:
        self._torn = 0
        pool = self._transport._pool
        while self.abandoned:
            request = self.abandoned.pop()._pool_request
            if request in pool._requests:
                pool._requests.remove(request)
        owned = {id(request.connection) for request in pool._requests}
        for connection in [one for one in pool._connections if id(one) not in owned]:
            if not (connection.is_idle() or connection.is_closed()):
                pool._connections.remove(connection)
                self._dead.append(connection)
        while self._dead:  # the request that sweeps may be cancelled too: then the next one goes on
            try:
                await self._dead.pop().aclose()
            except Exception:
                pass  # nobody waits for it


class AsyncLeakSweeper:
    """A body that tells when it was not closed properly. Mixed with httpx's `AsyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, abandoned: list[Any]) -> None:
        self._stream = stream
        self._abandoned: list[Any] | None = abandoned

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        await self._stream.aclose()
        self._abandoned = None

    def __del__(self) -> None:
        if self._abandoned is not None:
            self._abandoned.append(self._stream._httpcore_stream)


class ConnectionLimit:
    """A limit of connections in use: of the caller's `limits=`, across all endpoints, or of a cluster's limits.

    The wait for a connection is bounded by the pool timeout.
    """

    __slots__ = ("_lib", "_slots", "leave")

    def __init__(self, slots: int | Bulkhead, lib: Any) -> None:
        self._slots = Bulkhead(slots, max_wait=inf, name="limits") if isinstance(slots, int) else slots
        self._lib = lib
        self.leave = self._slots.leave

    def enter(self, run: Runtime, wire: Any) -> None:
        """Wait for a connection. Raises the family's `PoolTimeout`."""
        if self._slots.take() < 0:
            try:
                self._slots.wait(run, self._due(run, wire))
            except DeadlineExceeded:
                raise self._lib.PoolTimeout("no connection came free in time") from None

    async def enter_async(self, run: Runtime, wire: Any) -> None:
        """The same for a task."""
        if self._slots.take() < 0:
            try:
                await self._slots.wait_async(run, self._due(run, wire))
            except DeadlineExceeded:
                raise self._lib.PoolTimeout("no connection came free in time") from None

    def _due(self, run: Runtime, wire: Any) -> float:
        patience = (wire.extensions.get("timeout") or {}).get("pool")
        return inf if patience is None else run.now() + patience


def running_loop() -> Any:
    """What stands for the event loop that runs here: of asyncio, or of trio."""
    return _asyncio_loop() or sys.modules["trio"].lowlevel.current_trio_token()


async def let_others_run() -> None:
    """One turn of the event loop. A refusal waits for nothing, and who asks again at once would keep the loop busy."""
    if _asyncio_loop() is not None:
        await asyncio.sleep(0)
    else:
        await sys.modules["trio"].lowlevel.checkpoint()


def _over(loop: Any) -> bool:
    """Whether a run of trio has ended."""
    try:
        loop.run_sync_soon(bool)  # there is no other way to ask
    except RuntimeError:
        return True
    return False
