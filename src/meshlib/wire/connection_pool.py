"""Which connection carries the next exchange? A pool of HTTP/1.1 connections to one endpoint."""

from __future__ import annotations

import asyncio
import os
import ssl as _ssl
from asyncio import get_running_loop
from math import inf
from typing import TypedDict, Unpack

from meshlib.wire.dialer import Dialer
from meshlib.wire.exchange_end import Stale
from meshlib.wire.h1_connection import Connection
from meshlib.wire.h1_errors import ConnectTimeout, Cut, NoSocket, PoolClosed, WireError
from meshlib.wire.pool_group import PoolGroup
from meshlib.wire.raw_response import RawResponse
from meshlib.wire.response_stream import Stream
from meshlib.wire.slot_queue import SlotQueue


class How(TypedDict, total=False):
    """What `Pool.exchange` and `Pool.open` may be told; explained at `exchange`."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None
    replayable: bool
    keep: bool


class Pool:
    """Connections to one endpoint: most recently used first, at most `max_connections` at a time.

    `host` and `port` say where the socket goes, `uds` a Unix socket's path instead. With `ssl`, the certificate is
    checked against `server_hostname` (default: `host`), which is also sent as SNI. `max_connections` (None: no limit)
    counts idle, busy and opening ones; beyond it exchanges wait, first come, first served, at most `max_pending` of
    them. So they do when this process may open no more sockets. An idle connection is closed after `keepalive_expiry`
    seconds (None: never), or at once when `max_keepalive` others are idle. One that is older than `max_duration`
    seconds (None: no limit) takes no new exchange, and is closed when it comes to rest. A pool of a `group` closes idle
    connections of that group where it would otherwise open too many.

    A pool belongs to the event loop that uses it first. It moves to another loop when it holds no connection, when that
    loop is closed, or after a fork; otherwise a second loop gets a RuntimeError.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        uds: str | None = None,
        ssl: _ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        max_connections: int | None = None,
        max_pending: int | None = None,
        max_keepalive: int | None = None,
        keepalive_expiry: float | None = 5.0,
        max_duration: float | None = None,
        group: PoolGroup | None = None,
    ) -> None:
        for field, limit, least in (
            ("max_connections", max_connections, 1),
            ("max_pending", max_pending, 0),
            ("max_keepalive", max_keepalive, 0),
        ):
            if limit is not None and limit < least:
                raise ValueError(f"{field}: found {limit!r}, expected None or a whole number of at least {least}")
        if keepalive_expiry is not None and not keepalive_expiry >= 0:
            raise ValueError(f"keepalive_expiry: found {keepalive_expiry!r}, expected None or seconds, 0 or more")
        if max_duration is not None and not max_duration > 0:
            raise ValueError(f"max_duration: found {max_duration!r}, expected None or seconds above 0")
        self._dialer = Dialer(host, port, uds=uds, ssl=ssl, server_hostname=server_hostname)
        self._name = self._dialer.name
        self._places = SlotQueue(self._name, max_connections, max_pending, self._rest)
        self._max_keepalive = 0 if keepalive_expiry == 0 else max_keepalive
        self._keepalive_expiry = keepalive_expiry
        self._max_duration = max_duration
        self._group = group
        if group is not None:
            group.pools.add(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._leaving = False  # no new exchange
        self._cut = False  # nor any that had begun to wait or to connect
        self.opened: int = 0  # connections opened so far
        self._forget()

    def _forget(self) -> None:
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # in the order of their last use
        self._places.forget()

    def _after_fork(self) -> None:
        for connection in self._all:
            connection._after_fork()
        self._forget()
        self._loop = None

    def time(self) -> float:
        """The time of the loop that uses it, the running one."""
        return get_running_loop().time()

    @property
    def active(self) -> int:
        """Connections that are opening or busy."""
        return self._places.taken - len(self._idle)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def pending(self) -> int:
        """Exchanges that wait for a connection."""
        return len(self._places.waiting)

    def __repr__(self) -> str:
        counts = f"{self.active} active, {self.idle} idle, {self.pending} pending, {self.opened} opened"
        return f"<Pool {self._name}: {counts}>"

    # Exchanges.

    async def exchange(
        self,
        head: bytes,
        body: bytes = b"",
        *,
        method: bytes,
        connect: float | None = None,
        read: float | None = None,
        write: float | None = None,
        pool: float | None = None,
        replayable: bool = False,
        keep: bool = True,
        streaming: bool = False,
        by: float = inf,
    ) -> RawResponse:
        """Send a request and read the whole answer (only its head if `streaming`, which is for `open`).

        `head` is the request's head as it goes over the wire, its empty line included; `body` its framed body. The
        limits are seconds (None: none): for the connection to open, for each wait for bytes from the server, for the
        request to be taken by the network, and for a connection to come free. `replayable`: it does no harm if the
        server sees the request twice; such a one is sent again, on a new connection, when one that was at rest turns
        out to be dead. `keep=False` when the head says `Connection: close`. `by` is the loop's time at which all must
        be over; one of the limits is then said to have passed. Raises WireError.
        """
        if get_running_loop() is not self._loop:
            self._move()
        if self._leaving:
            raise PoolClosed(f"{self._name}: the endpoint has left, or the client is closed")
        connection = self._rested() or await self._acquire_by(by, connect, pool)
        while True:
            left = inf if by == inf else by - get_running_loop().time()
            waiter = connection.exchange(head, body, method, read, write, replayable, keep, streaming, left)
            try:
                return await waiter
            except WireError:
                raise
            except Stale:
                pass
            except BaseException:
                connection.abandon(waiter)
                raise
            connection = await self.instead(connection, connect, by)

    def ready(self, loop: asyncio.AbstractEventLoop, held_back: bool) -> Connection | None:
        """An idle connection for an exchange on `loop`, which is the running one; None if `exchange` must see to it.

        `held_back`: the request goes by an outbox, and the connection is looked at when it leaves.
        """
        idle = self._idle
        if not idle or loop is not self._loop or self._leaving:
            return None
        if self._max_duration is None:
            connection = idle.popitem()[0]
            if held_back or not connection.poll(0) or connection.usable():
                return connection
            connection.close()
        return self._rested()

    async def instead(self, stale: Connection, connect: float | None, by: float) -> Connection:
        """A new connection in the place of one that was found dead. `connect` and `by` as in `exchange`."""
        stale.place = False
        self._all.discard(stale)
        return await self._connect(connect if by == inf else _sooner(connect, by - get_running_loop().time()))

    async def open(self, head: bytes, body: bytes = b"", *, method: bytes, **how: Unpack[How]) -> Stream:
        """Send a request and read the head of the answer; the body comes by the stream. All else as in `exchange`."""
        answer = await self.exchange(head, body, method=method, streaming=True, **how)
        connection, reader = answer.source
        answer.source = None  # it would be a cycle
        return Stream(answer, connection, reader)

    # Ending.

    def drain(self) -> None:
        """The endpoint leaves: refuse new exchanges, close idle connections, let those that wait or run finish."""
        self._leaving = True
        for connection in list(self._idle):
            connection.close()

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Drain, wait up to `grace` seconds, then cut what still runs: such an exchange raises Cut."""
        self._leaving = self._cut = True
        if self._loop is None:
            return
        if get_running_loop() is not self._loop:
            self._move()
        self.drain()
        if grace > 0:
            self._cut = False
            await self._places.empty(grace)
            self._cut = True
        self._places.close()
        for connection in list(self._all):
            connection.fail(Cut("the client was closed"))
        for _ in range(2):  # turns of the loop in which the transports let go of their sockets
            await asyncio.sleep(0)

    # Finding a connection.

    def _rested(self) -> Connection | None:
        """The idle connection used last in which nothing waits: no data, and no end."""
        while self._idle:
            connection, _ = self._idle.popitem()
            # The loop may be late to close one that is too old.
            old = connection.retires is not None and connection.retires <= connection.loop.time()
            if not old and connection.usable():
                return connection
            connection.close()
        return None

    async def _acquire_by(self, by: float, connect: float | None, patience: float | None) -> Connection:
        if by == inf:
            return await self._acquire(connect, patience)
        try:
            async with asyncio.timeout_at(by) as clock:
                return await self._acquire(connect, patience)
        except TimeoutError as error:
            if clock.expired():
                raise ConnectTimeout(f"{self._name}: no connection in time") from error
            raise

    async def _acquire(self, connect: float | None, patience: float | None) -> Connection:
        """A connection that is ours, at the latest after `patience` seconds of waiting for a place."""
        ours = self._places.take()
        while True:
            if ours:
                try:
                    return await self._connect(connect)
                except NoSocket:
                    if not self._places.taken:  # nobody here has a socket that could come free
                        raise
            connection = await self._places.wait(patience)
            if connection is None:
                ours = True
            elif not connection.open:  # it has died between our turn and now, and its place with it
                ours = self._places.take()
            elif connection.usable():
                return connection
            else:
                connection.drop()
                self._all.discard(connection)
                ours = True

    def _rest(self, connection: Connection) -> None:
        """A connection is free: for the exchange that has waited longest, or to lie idle."""
        retires = connection.retires
        left = None if retires is None else retires - connection.loop.time()
        if left is not None and left <= 0:
            connection.close()
        elif self._places.waiting and self._places.hand(connection):
            connection.limit(None)
        elif self._leaving or (self._max_keepalive is not None and len(self._idle) >= self._max_keepalive):
            connection.close()
        else:
            self._idle[connection] = None
            expiry = self._keepalive_expiry
            connection.limit(expiry if left is None else _sooner(expiry, left))

    def _closed(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._idle.pop(connection, None)
        self._places.free()

    # Connecting.

    async def _connect(self, limit: float | None) -> Connection:
        """A new connection in a place that is ours already, and is given back if this fails."""
        assert self._loop is not None
        connection = Connection(self._loop, self._rest, self._closed)
        try:
            if self._group is not None:
                await self._group.make_room()
            await self._dialer.connect(connection, limit)
            if self._cut:
                connection.transport.abort()
                raise PoolClosed(f"{self._name}: the client was closed")
        except BaseException as error:
            self._places.free()
            if connection.loop.is_closed():  # we were dropped, and asyncio stumbles over that: nobody's failure
                raise GeneratorExit from error
            raise
        if self._max_duration is not None:
            connection.retires = self._loop.time() + self._max_duration
        self._all.add(connection)
        self.opened += 1
        return connection

    def _move(self) -> None:
        """Settle on the running loop. Connections of a closed loop, or of the process we were forked from, are lost."""
        loop = get_running_loop()
        old = self._loop
        if old is not None and self._places.taken and not old.is_closed() and self._process == os.getpid():
            raise RuntimeError(
                f"{self._name}: this pool has connections on another event loop that is still open; "
                "give each event loop a client of its own, or close the client before the next loop uses it"
            )
        self._forget()
        self._loop = loop
        self._process = os.getpid()


def _sooner(limit: float | None, left: float) -> float:
    return left if limit is None or left < limit else limit
