"""How does an attempt travel over httpx's own transports? The road for whatever the fast lane cannot take.

`send_over_httpx` and `send_over_httpx_sync` are one attempt: send, read unless it is a stream, and end by the deadline.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, TypeAlias

from ...errors import DeadlineExceeded
from ...parking import in_event_loop
from ...runtime import Expired, Runtime
from ..engine.classify import EARLY
from ..engine.exchange import Attempt, Exchange
from ..engine.goaway import UNSENT, Resends, fate
from ..engine.wire_request import shortened, wire_request
from .connection_reuse import close_on_surplus, is_idle_timeout
from .httpx_pools import ConnectionLimit

Send: TypeAlias = Callable[[Runtime, Attempt, Any, Any], Coroutine[Any, Any, Any]]
"""Sends an attempt: its runtime, the request and the transport."""


async def send_over_httpx(run: Runtime, attempt: Attempt, find: Callable[..., Any]) -> Any:
    """One attempt over what `find` finds: a transport, and limits. A timer keeps the deadline."""
    exchange, deadline = attempt.what, attempt.deadline
    left = inf if deadline == inf else deadline - run.now()
    wire = wire_request(attempt, left)
    transport, limits = find(attempt, wire)
    send: Send = _attempt
    for limit in limits:
        send = _limited(send, limit)
    work = send(run, attempt, wire, transport)
    try:
        return await (work if deadline == inf else run.until(deadline, work))
    except Expired as error:
        raise DeadlineExceeded(exchange.service, limit=left) from error
    except ssl.SSLError as error:  # an alert after the handshake, which httpx lets through as it is, from anyio
        raise exchange.family.lib.ReadError(str(error), request=exchange.request) from error
    except Exception as error:
        if not in_event_loop():  # the loop was closed: nobody's failure
            raise GeneratorExit from error
        if not _too_late(run, exchange, deadline, error):
            raise
        raise DeadlineExceeded(exchange.service, limit=left) from error


def _limited(send: Send, limit: ConnectionLimit) -> Send:
    async def limited(run: Runtime, attempt: Attempt, wire: Any, transport: Any) -> Any:
        await limit.enter_async(run, wire)
        try:
            response = await send(run, attempt, wire, transport)
        except BaseException:
            limit.leave()
            raise
        if attempt.what.stream:
            attempt.releases += (limit.leave,)
        else:
            limit.leave()
        return response

    return limited


async def _attempt(run: Runtime, attempt: Attempt, wire: Any, transport: Any) -> Any:
    exchange: Exchange = attempt.what
    resends: Resends | None = None
    while True:
        try:
            response = await transport.handle_async_request(wire)
        except exchange.family.lib.TransportError as error:
            resends = _resend(run, attempt, wire, error, resends)
            continue
        if not (exchange.repeatable and is_idle_timeout(response)):
            break
        await response.aclose()  # each time it costs an idle connection, so it ends
    close_on_surplus(response)
    attempt.heard = run.now()
    _log(exchange, response)
    if exchange.stream:
        _restore(run, exchange, wire)
        return response
    if response.is_closed:
        return response
    response.request = exchange.request
    try:
        await response.aread()
    except GeneratorExit:  # dropped: nothing may be awaited any more
        raise
    except BaseException:
        try:
            await response.aclose()
        except Exception:
            pass  # what is broken already; the error that brought us here is the one to tell
        raise
    return response


def send_over_httpx_sync(run: Runtime, attempt: Attempt, find: Callable[..., Any]) -> Any:
    """The same from a thread. Nothing can interrupt it: time-outs are shortened, and the clock asked at each chunk."""
    exchange, deadline = attempt.what, attempt.deadline
    left = inf if deadline == inf else deadline - run.now()
    wire = wire_request(attempt, left)
    transport, limits = find(attempt, wire)
    try:
        send = _attempt_sync
        for limit in limits:
            send = _limited_sync(send, limit)
        return send(run, attempt, wire, transport, left)
    except Exception as error:
        if not _too_late(run, exchange, deadline, error):
            raise
        raise DeadlineExceeded(exchange.service, limit=left) from error


def _limited_sync(send: Callable[..., Any], limit: ConnectionLimit) -> Callable[..., Any]:
    def limited(run: Runtime, attempt: Attempt, wire: Any, transport: Any, left: float) -> Any:
        limit.enter(run, wire)
        try:
            response = send(run, attempt, wire, transport, left)
        except BaseException:
            limit.leave()
            raise
        if attempt.what.stream:
            attempt.releases += (limit.leave,)
        else:
            limit.leave()
        return response

    return limited


def _attempt_sync(run: Runtime, attempt: Attempt, wire: Any, transport: Any, left: float) -> Any:
    exchange, deadline = attempt.what, attempt.deadline
    resends: Resends | None = None
    while True:
        try:
            response = transport.handle_request(wire)
        except exchange.family.lib.TransportError as error:
            resends = _resend(run, attempt, wire, error, resends)
            continue
        if not (exchange.repeatable and is_idle_timeout(response)):
            break
        response.close()
        _shorten(run, attempt, wire)
    close_on_surplus(response)
    attempt.heard = run.now()
    _log(exchange, response)
    try:
        if attempt.heard >= deadline:
            raise DeadlineExceeded(exchange.service, limit=left)
        if exchange.stream:
            _restore(run, exchange, wire)
            return response
        if response.is_closed:
            return response
        response.request = exchange.request
        if deadline < inf:
            wire.extensions["timeout"]["read"] = min(wire.extensions["timeout"]["read"], deadline - attempt.heard)
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


def _resend(run: Runtime, attempt: Attempt, wire: Any, error: Any, resends: Resends | None) -> Resends:
    """Prepare `wire` to be sent again within the same attempt if the server did not process it; else raise `error`."""
    exchange: Exchange = attempt.what
    if fate(error) is not UNSENT:
        raise error
    error.sent = False
    if not exchange.untouched() or (exchange.cut is not None and exchange.cut(exchange) is not None):
        raise error
    resends = resends or Resends()
    if not resends.again(error):
        text = f"{exchange.service}: the server refused the request {resends.made + 1} times; last reason: {error}"
        raise exchange.family.lib.ConnectError(text, request=exchange.request) from error
    attempt.start = run.now()  # what the endpoint did not process is no sample of its latency
    _shorten(run, attempt, wire)
    return resends


def _shorten(run: Runtime, attempt: Attempt, wire: Any) -> None:
    """Before `wire` is sent again: its time-outs are to end by the deadline of the attempt, as at first."""
    if attempt.deadline < inf:
        asked = attempt.what.request.extensions.get("timeout") or {}
        wire.extensions["timeout"] = shortened(asked, attempt.deadline - run.now())


def _too_late(run: Runtime, exchange: Exchange, deadline: float, error: Exception) -> bool:
    """Whether a time-out was really the deadline. Says on the way whether anything was sent."""
    errors = exchange.family.errors
    if isinstance(error, errors.not_sent):
        error.sent = not exchange.untouched()  # type: ignore[attr-defined]
    return isinstance(error, errors.slow) and run.now() >= deadline - EARLY


def _restore(run: Runtime, exchange: Exchange, wire: Any) -> None:
    """The service's deadline ends with the headers of a stream. Its body is bound by the caller's own limits only."""
    timeout = wire.extensions.get("timeout")
    if timeout is not None and not exchange.plain:
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
