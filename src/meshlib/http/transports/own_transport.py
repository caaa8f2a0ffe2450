"""How does an attempt travel over connections of our own? What stands in for httpx's transport: HTTP/1.1 on asyncio.

It is taken exactly when the outcome cannot differ from httpx's own road: asyncio, HTTP/1.1, httpx's untouched default
transport, a body in memory, and no extension that only httpcore understands. Each endpoint has a pool of its own for
each event loop and each name that certificates are checked against.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from ... import forked
from ...balancing import Endpoint
from ...loop_state import loop_state
from ...policies.concurrency.bulkhead import Bulkhead
from ...wire.connection_pool import How, Pool
from ...wire.h1_connection import Connection
from ...wire.h1_errors import PoolClosed, WireError
from ...wire.pool_group import PoolGroup
from ...wire.raw_response import ResponseHead
from ...wire.request_writer import request_bytes
from ...wire.write_batch import WriteBatch
from ..engine.exchange import KEY, Attempt, Exchange
from ..engine.wire_request import PHASES
from ..family import Family
from ..plan.patches import TransportPatches
from .network_stream import NetworkStream

PoolKey: TypeAlias = tuple[int, str, float | None, Bulkhead | None]
"""An endpoint's id (its own while it lives), whom the certificate must name, the greatest age, the cluster's limit."""

_UNDERSTOOD: Final = frozenset({"timeout", "sni_hostname", KEY})


class LoopPools:
    """The pools of one client on one event loop. Whoever drops an endpoint drops its connections too."""

    __slots__ = (
        "__weakref__",
        "_groups",
        "_keepalive",
        "_most_idle",
        "_pools",
        "_process",
        "_refs",
        "loop",
        "outbox",
        "plain",
        "tls",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tls: Any, keepalive: float | None, most_idle: int | None = None
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.outbox: WriteBatch = WriteBatch(loop)
        self.tls: Any = tls
        self._keepalive = keepalive
        self._most_idle = most_idle  # connections to an endpoint
        self._process = os.getpid()
        self._pools: dict[PoolKey, Pool] = {}
        self._groups: weakref.WeakKeyDictionary[Bulkhead, PoolGroup] = weakref.WeakKeyDictionary()
        self._refs: dict[int, weakref.ref[Endpoint]] = {}
        # Those for which only the endpoint matters: no TLS, no limits. They are among the others, too.
        self.plain: dict[int, Pool] = {}

    def _after_fork(self) -> None:
        self.outbox = WriteBatch(self.loop)
        for pool in self._pools.values():
            pool._after_fork()

    def pool(
        self, endpoint: Endpoint, name: str, longest: float | None = None, connections: Bulkhead | None = None
    ) -> Pool:
        """The pool for `endpoint`; `name` is whom its certificate must name ("": no TLS).

        `longest` is the greatest age of its connections, in seconds (None: any). `connections` are those of the
        cluster's limits (None: no limit): its pools share that many.
        """
        pool = self._pools.get((id(endpoint), name, longest, connections))
        return self._open(endpoint, name, longest, connections) if pool is None else pool

    def _open(self, endpoint: Endpoint, name: str, longest: float | None, connections: Bulkhead | None) -> Pool:
        key = id(endpoint)
        if key not in self._refs:
            here = weakref.ref(self)

            def gone(_: object) -> None:
                station = here()
                if station is not None:
                    station._leave(key)

            self._refs[key] = weakref.ref(endpoint, gone)
        group = None
        if connections is not None:
            group = self._groups.setdefault(connections, PoolGroup(connections.max_concurrent))
        pool = self._pools[key, name, longest, connections] = Pool(
            endpoint.host,
            endpoint.port,
            uds=endpoint.host[5:] if endpoint.host.startswith("unix:") else None,
            ssl=self.tls if name else None,
            server_hostname=name or None,
            max_keepalive=self._most_idle,
            keepalive_expiry=self._keepalive,
            max_duration=longest,
            group=group,
        )
        if not name and longest is None and connections is None:
            self.plain[key] = pool
        return pool

    def _leave(self, key: int) -> None:
        """An endpoint was collected: whoever may still use its connections finishes, and the idle ones close."""
        self._refs.pop(key, None)
        self.plain.pop(key, None)
        for known in [known for known in self._pools if known[0] == key]:
            pool = self._pools.pop(known)
            if self._process == os.getpid() and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(pool.drain)

    async def aclose(self) -> None:
        pools, self._pools, self.plain = list(self._pools.values()), {}, {}
        self._refs.clear()
        for pool in pools:
            await pool.aclose()

    def drain(self) -> None:
        """The same from any thread, without haste: what is busy finishes first."""
        if self._process == os.getpid() and not self.loop.is_closed():
            for pool in list(self._pools.values()):
                self.loop.call_soon_threadsafe(pool.drain)

    __del__ = drain  # of a client that was dropped and not closed


def _nowhere() -> None:
    """Where a lane is that has not arrived in any loop."""


class OwnTransport:
    """The fast lane of one client: may it be used, and which pool carries an attempt?"""

    __slots__ = ("__weakref__", "_closed", "_context", "_limits", "_stations", "family", "here", "way")

    def __init__(self, family: Family, transport: Any, tls: Any, limits: Any) -> None:
        self.family: Family = family
        self._context = tls
        self._limits = limits
        self.way: TransportPatches = TransportPatches(family, transport)
        self._closed = False
        self.here: Callable[[], LoopPools | None] = _nowhere  # the station of the newest loop, which keeps it
        self._stations: WeakValueDictionary[int, LoopPools] = WeakValueDictionary()  # by the id of the loop

    def _after_fork(self) -> None:
        for station in self._stations.values():
            station._after_fork()
        self._stations.clear()
        self.here = _nowhere

    @classmethod
    def of(cls, family: Family, transport: Any, settings: dict[str, Any], limits: Any) -> OwnTransport | None:
        """The lane beside httpx's default `transport` that was made of `settings`; None if it cannot do the same.

        `limits` are those of the connections to one endpoint.
        """
        if type(transport) is not family.lib.AsyncHTTPTransport or not hasattr(transport, "_pool"):
            return None
        if settings.get("http2", False) or not settings.get("http1", True):
            return None
        return cls(family, transport, settings["verify"], limits)

    def open(self) -> bool:
        """Whether we are on asyncio, and nothing has been put between the client and the network."""
        return _asyncio_loop() is not None and self.way.untouched()

    def takes(self, exchange: Exchange) -> bool:
        """Whether this exchange would come out the same on httpx's own road."""
        request = exchange.request
        return (
            type(request.stream) is self.family.lib.ByteStream
            and isinstance(request.method, str)  # bytes would do in httpx
            and request.extensions.keys() <= _UNDERSTOOD
            and request.url.scheme in ("http", "https")
            and request.method != "CONNECT"
            and "upgrade" not in request.headers
            and self.open()
        )

    def transport(self, attempt: Attempt, endpoint: Endpoint, wire: Any) -> AttemptSender:
        """What carries `wire`, the request of `attempt` to `endpoint`."""
        name = wire.extensions.get("sni_hostname", "") if wire.url.scheme == "https" else ""
        longest = attempt.cluster.max_connection_duration
        station = self.here()
        if station is None or station.loop is not _asyncio_loop():
            station = self.arrive()
        limits = attempt.cluster.limits
        connections = None if limits is None else limits.connections
        return AttemptSender(station.pool(endpoint, name, longest, connections), attempt.what)

    def arrive(self) -> LoopPools:
        """The station of the running loop."""
        if self._closed:
            raise PoolClosed("the client was closed")
        forked.catch_up()
        loop = asyncio.get_running_loop()
        stations: WeakKeyDictionary[OwnTransport, LoopPools] = loop_state(loop).setdefault(
            "stations", WeakKeyDictionary()
        )
        station = stations.get(self)
        if station is None:
            limits = self._limits
            station = LoopPools(loop, self._context, limits.keepalive_expiry, limits.max_keepalive_connections)
            stations[self] = self._stations[id(loop)] = station
        self.here = weakref.ref(station)
        return station

    async def aclose(self) -> None:
        """Close the connections of the running loop, have other loops close theirs, and open no more."""
        self._closed = True
        self.here = _nowhere
        stations = {station.loop: station for station in self._stations.values()}
        self._stations.clear()
        loop = _asyncio_loop()
        own = None if loop is None else stations.pop(loop, None)
        for station in stations.values():
            station.drain()
        if own is not None:
            await own.aclose()


class AttemptSender:
    """One attempt's stand-in for an httpx transport. A plain call comes back whole, a streamed one at its headers."""

    __slots__ = ("_exchange", "_pool")

    def __init__(self, pool: Pool, exchange: Exchange) -> None:
        self._pool = pool
        self._exchange = exchange

    async def handle_async_request(self, wire: Any) -> Any:
        exchange = self._exchange
        family = exchange.family
        method = wire.method.encode("ascii")
        timeout = wire.extensions.setdefault("timeout", {})
        how: How = {phase: timeout.get(phase) for phase in PHASES}  # type: ignore[assignment]
        how["replayable"] = exchange.repeatable
        try:
            content = b"".join(wire.stream)  # not `_content`, which a request that follows a redirect has not
            head, body, how["keep"] = request_bytes(method, wire.url.raw_path, wire.headers.raw, content)
            if exchange.stream:
                stream = await self._pool.open(head, body, method=method, **how)
                body_to_come = family.AsyncWire(stream, family, exchange.request, timeout)
                return _response(family, stream.head, body_to_come, stream.connection)
            answer = await self._pool.exchange(head, body, method=method, **how)
            body_read = family.lib.ByteStream(answer.body) if answer.body else family.EmptyStream()
            return _response(family, answer.head, body_read, answer.source)
        except WireError as error:
            raise error.told(family.lib, exchange.request) from error


def _response(family: Family, head: ResponseHead, stream: Any, connection: Connection) -> Any:
    extensions = {
        "http_version": head.http_version,
        "reason_phrase": head.reason,
        "network_stream": NetworkStream(connection),
    }
    return family.lib.Response(head.status, headers=head.headers, stream=stream, extensions=extensions)
