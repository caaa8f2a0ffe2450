"""How does an attempt travel over httpx's own transports? The road for whatever the fast lane cannot take.

The caller's own `transport=` or `mounts=` carries the mesh's requests too. Where he gave none, the mesh has connections
of its own (`Pools`), because httpx 0.28's pool dies of cancelled requests once it has a limit (httpcore issue 1093),
and every deadline and hedge cancels. So theirs have no limit; how many calls are in flight is the bulkhead's business.

`carry` and `carry_sync` are one attempt: send, read unless it is a stream, and end by the deadline.
"""

from __future__ import annotations

import os
import sys
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from ..balancing import Endpoint
from ..errors import DeadlineExceeded
from ..runtime import Expired, Runtime
from .classify import EARLY
from .exchange import Exchange
from .wire_request import shortened, wire_request


class Pools:
    """The mesh's own connections beneath one client: a pool for each name that certificates are checked against.

    The name matters: to the transport two services behind one address look the same, and a connection that was
    verified for one must not carry requests for the other. Each Unix socket has a pool too. An event loop never sees
    the connections of another one, nor a forked process those of its parent.
    """

    __slots__ = ("_make", "_pools", "_process")

    def __init__(self, make: Callable[[str | None], Any]) -> None:
        self._make = make  # builds a transport, to a Unix socket if it is given a path
        self._pools: dict[tuple[Any, str, str], Any] = {}
        self._process = os.getpid()

    def transport(self, wire: Any, endpoint: Endpoint, loop: Any = None) -> Any:
        """The transport for `wire` to `endpoint`, within `loop`."""
        path = endpoint.host[5:] if endpoint.host.startswith("unix:") else ""
        key = (loop, wire.extensions.get("sni_hostname", ""), path)
        transport = self._pools.get(key)
        if transport is None or self._process != os.getpid():
            self._forget_the_dead()
            transport = self._pools.setdefault(key, self._make(path or None))
        return transport

    def _forget_the_dead(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._pools = {}
        for key in [key for key in self._pools if key[0] is not None and getattr(key[0], "is_closed", bool)()]:
            self._pools.pop(key, None)

    def take(self, loop: Any = None) -> Iterator[Any]:
        """All transports of `loop`, one after the other; whoever takes them closes them."""
        for key in [key for key in self._pools if key[0] is loop]:
            transport = self._pools.pop(key, None)
            if transport is not None and self._process == os.getpid():
                yield transport


def running_loop() -> Any:
    """What stands for the event loop that runs here: of asyncio, or of trio."""
    return _asyncio_loop() or sys.modules["trio"].lowlevel.current_trio_token()


async def carry(run: Runtime, exchange: Exchange, endpoint: Endpoint, deadline: float, find: Callable[..., Any]) -> Any:
    """One attempt over the transport that `find` finds. On asyncio and trio a timer keeps the deadline."""
    left = inf if deadline == inf else deadline - run.now()
    wire = wire_request(exchange, endpoint, left)
    work = _attempt(run, exchange, find(exchange, endpoint, wire), wire)
    try:
        return await (work if deadline == inf else run.until(deadline, work))
    except Expired as error:
        raise DeadlineExceeded(exchange.service, limit=left) from error
    except Exception as error:
        if not _too_late(run, exchange, deadline, error):
            raise
        raise DeadlineExceeded(exchange.service, limit=left) from error


async def _attempt(run: Runtime, exchange: Exchange, transport: Any, wire: Any) -> Any:
    response = await transport.handle_async_request(wire)
    exchange.heard = run.now()
    _log(exchange, response)
    if exchange.stream:
        _restore(run, exchange, wire)
        return response
    if response.is_closed:
        return response
    response.request = exchange.request
    try:
        await response.aread()
    except BaseException:
        try:
            await response.aclose()
        except Exception:
            pass  # what is broken already; the error that brought us here is the one to tell
        raise
    return response


def carry_sync(run: Runtime, exchange: Exchange, endpoint: Endpoint, deadline: float, find: Callable[..., Any]) -> Any:
    """The same from a thread. Nothing can interrupt it: time-outs are shortened, and the clock asked at each chunk."""
    left = inf if deadline == inf else deadline - run.now()
    wire = wire_request(exchange, endpoint, left)
    try:
        return _attempt_sync(run, exchange, find(exchange, endpoint, wire), wire, deadline, left)
    except Exception as error:
        if not _too_late(run, exchange, deadline, error):
            raise
        raise DeadlineExceeded(exchange.service, limit=left) from error


def _attempt_sync(run: Runtime, exchange: Exchange, transport: Any, wire: Any, deadline: float, left: float) -> Any:
    response = transport.handle_request(wire)
    exchange.heard = run.now()
    _log(exchange, response)
    try:
        if exchange.heard >= deadline:
            raise DeadlineExceeded(exchange.service, limit=left)
        if exchange.stream:
            _restore(run, exchange, wire)
            return response
        if response.is_closed:
            return response
        response.request = exchange.request
        if deadline < inf:
            wire.extensions["timeout"]["read"] = min(wire.extensions["timeout"]["read"], deadline - exchange.heard)
            response.stream = exchange.family.SyncTimed(
                response.stream, run.now, deadline, DeadlineExceeded(exchange.service, limit=left)
            )
        response.read()
    except BaseException:
        try:
            response.close()
        except Exception:
            pass
        raise
    return response


def _too_late(run: Runtime, exchange: Exchange, deadline: float, error: Exception) -> bool:
    """Whether a time-out was really the deadline. Says on the way whether anything was sent."""
    errors = exchange.family.errors
    if isinstance(error, errors.not_sent):
        error.sent = not exchange.untouched()  # type: ignore[attr-defined]
    return isinstance(error, errors.slow) and run.now() >= deadline - EARLY


def _restore(run: Runtime, exchange: Exchange, wire: Any) -> None:
    """The service's deadline ends with the headers of a stream. Its body is bound by the caller's own limits only."""
    timeout = wire.extensions.get("timeout")
    if timeout is not None:
        asked = exchange.request.extensions.get("timeout") or {}
        remaining = inf if exchange.deadline == inf else exchange.deadline - run.now()
        timeout.update(dict.fromkeys(timeout), **shortened(asked, remaining))


def _log(exchange: Exchange, response: Any) -> None:
    request = exchange.request
    exchange.family.log.info(
        'HTTP Request: %s %s "%s %d %s"',
        request.method,
        request.url,
        response.http_version,
        response.status_code,
        response.reason_phrase,
    )
