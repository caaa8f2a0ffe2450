"""A plain request on its way: how is it asked of an endpoint, what is made of the answer, and of what goes wrong?

Nothing here is a coroutine but the exchange on the wire itself, and nothing of httpx is made that nobody looks at.
"""

from __future__ import annotations

import logging
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from ...balancing import Endpoint
from ...errors import DeadlineExceeded
from ...routing.context import DEADLINE_HEADER
from ...routing.request import RouteRequest
from ...wire.connection_pool import Pool
from ...wire.exchange_end import Stale
from ...wire.h1_connection import ONE_WRITE, Connection
from ...wire.h1_errors import ConnectTimeout, PoolTimeout, ReadTimeout, WireError, WriteTimeout
from ...wire.raw_response import RawResponse
from ...wire.write_batch import CROWD
from ..plan.request_plan import RequestPlan
from ..transports.httpx_transport import _log
from .classify import EARLY
from .exchange import Attempt, Exchange
from .wire_request import told_deadline

if TYPE_CHECKING:
    from ...mesh import Cluster
    from ..client.fast_path import FastPath

Asked: TypeAlias = tuple[Any, Connection | None, Pool]
"""What to await for the answer, the connection (if one was ready), and the pool that it belongs to."""

_PHASES: Final = ("connect", "read", "write", "pool")
_LATE: Final = (ConnectTimeout, PoolTimeout, ReadTimeout, WriteTimeout)
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})


class FastExchange(Exchange):
    """An exchange whose httpx request is built only if somebody asks for it."""

    __slots__ = ("_request", "body", "client", "lean", "plan", "settled", "timeout", "took")

    # The same for all of them: looked up in the class, and never set.
    stream = False
    plain = True
    replayable = True

    def __init__(self, lean: FastPath, client: Any, plan: RequestPlan, body: bytes, timeout: Any) -> None:
        self._request: Any = None
        self.lean: FastPath = lean
        self.client: Any = client
        self.plan: RequestPlan = plan
        self.body: bytes = body
        self.timeout: Any = timeout  # the family's own `Timeout`
        self.start: float = lean.now()
        self.route: RouteRequest = plan.route
        self.settled: bool = False  # whether the response is as the caller shall get it
        self.took: float  # seconds, from then on

    @property
    def request(self) -> Any:
        if self._request is None:
            self._request = self.plan.request(self.body, {phase: getattr(self.timeout, phase) for phase in _PHASES})
        return self._request

    @property
    def family(self) -> Any:  # type: ignore[override]  # nobody sets it
        return self.lean.family

    @property
    def repeatable(self) -> bool:  # type: ignore[override]
        return self.plan.repeatable

    @property
    def road(self) -> Any:  # type: ignore[override]
        return send_fast  # it is only ever given exchanges of this kind

    def usual(self) -> FastExchange:
        """What only the engine's usual steps want to know."""
        self.attempts = 0
        self.tried: list[Endpoint] = []
        self.newest: Attempt | None = None
        return self

    def ask(self, endpoint: Endpoint, cluster: Cluster, left: float) -> Asked:
        """Send it to `endpoint`: the answer is to be awaited, and comes within `left` seconds, for the connection
        keeps that time itself. Whatever is raised while one waits, give it to `rescue`."""
        plan, body, timeout, lane, loop = self.plan, self.body, self.timeout, self.lean.lane, _asyncio_loop()
        # Whom the endpoint's certificate must name; "" without TLS.
        name = (cluster.tls_name or plan.host) if plan.secure or cluster.tls else ""
        station = lane.here()
        if station is None or station.loop is not loop:
            station = lane.arrive()
        longest = cluster.max_connection_duration
        limits = cluster.limits
        pool = None if name or longest is not None or limits is not None else station.plain.get(id(endpoint))
        if pool is None:
            pool = station.pool(endpoint, name, longest, None if limits is None else limits.connections)
        head = plan.head(body) if body else plan.before
        if self.deadline < inf:
            head = self._told(head, left)
        outbox = station.outbox if len(self.lean.door.busy) >= CROWD and len(body) <= ONE_WRITE else None
        connection = pool.ready(station.loop, outbox is not None)
        if connection is not None:
            answer = connection.exchange(
                head, body, plan.verb, timeout.read, timeout.write, plan.repeatable, plan.keep, False, left, outbox
            )
            return answer, connection, pool
        return self._opening(pool, head, left), None, pool

    def _opening(self, pool: Pool, head: bytes, left: float) -> Coroutine[Any, Any, RawResponse]:
        plan, timeout = self.plan, self.timeout
        return pool.exchange(
            head,
            self.body,
            method=plan.verb,
            connect=timeout.connect,
            read=timeout.read,
            write=timeout.write,
            pool=timeout.pool,
            replayable=plan.repeatable,
            keep=plan.keep,
            by=pool.time() + left,
        )

    def _told(self, head: bytes, left: float) -> bytes:
        """The head, with the caller's deadline in it, as `wire_request` has it."""
        if self.plan.route.header(DEADLINE_HEADER) is not None:
            return head
        return b"%b%b: %b\r\n\r\n" % (head[:-2], DEADLINE_HEADER.encode(), told_deadline(left).encode())

    async def rescue(self, error: BaseException, asked: Asked, left: float, deadline: float) -> RawResponse:
        """The answer over another connection, if the one that was ready had died unseen; else `error` is raised, as
        httpx tells it. There were `left` seconds until `deadline`."""
        waiter, connection, pool = asked
        try:
            if connection is None or isinstance(error, WireError):
                raise error
            if not isinstance(error, Stale):
                connection.abandon(waiter)
                raise error
            by = pool.time() + (deadline - self.lean.now() if deadline < inf else inf)
            connection = await pool.instead(connection, self.timeout.connect, by)
            left = by - pool.time() if by < inf else inf
            plan, body, timeout = self.plan, self.body, self.timeout
            head = plan.head(body) if self.deadline == inf else self._told(plan.head(body), left)
            waiter = connection.exchange(
                head, body, plan.verb, timeout.read, timeout.write, plan.repeatable, plan.keep, False, left
            )
            try:
                return await waiter
            except WireError:
                raise
            except BaseException:
                connection.abandon(waiter)
                raise
        except WireError as failure:
            self._complain(failure, left, deadline)

    def _complain(self, error: WireError, left: float, deadline: float) -> NoReturn:
        """Raise `error` as httpx tells it, or that the `deadline` has passed, after the `left` seconds there were."""
        if self.lean.door.closed:
            raise self.lean.door.cut_off(self) from error
        told = error.told(self.family.lib, self.request)
        if isinstance(error, _LATE) and self.lean.now() >= deadline - EARLY:
            raise DeadlineExceeded(self.service, limit=left) from told
        raise told from error

    def answered(self, answer: RawResponse) -> Any:
        """The response. Raises what httpx raises for a body whose coding is broken."""
        family = self.lean.family
        response = family.LazyResponse(answer, self)
        if family.log.isEnabledFor(logging.INFO):
            _log(self, response)
        if not answer.head.plain:
            self._heed(answer, response)
        return response

    def _heed(self, answer: RawResponse, response: Any) -> None:
        """See to what most answers do not have: cookies and content codings."""
        names = {name.lower() for name, _ in answer.head.headers}
        if b"content-encoding" in names and answer.body:
            response._content = self._decoded(answer)
        response._sets_cookies = not names.isdisjoint(_COOKIES)

    def _decoded(self, answer: RawResponse) -> bytes:
        """The body without its content codings, as the family's own response reads it."""
        lib = self.family.lib
        try:
            whole = lib.Response(answer.head.status, headers=answer.head.headers, stream=lib.ByteStream(answer.body))
            content: bytes = whole.read()
        except lib.DecodingError as error:
            error.request = self.request
            raise
        return content


async def send_fast(attempt: Attempt) -> Any:
    """One attempt at a plain request, as `Road` wants it."""
    exchange: FastExchange = attempt.what
    endpoint, deadline = attempt.endpoint, attempt.deadline
    assert endpoint is not None
    limits = attempt.cluster.limits
    if not attempt.decision.plain or (limits is not None and limits.connections is not None):
        # The attempt before may have been routed elsewhere, and a connection may have to be waited for.
        return await exchange.client._road(attempt)
    now = exchange.lean.now
    left = deadline - now() if deadline < inf else inf
    asked = exchange.ask(endpoint, attempt.cluster, left)
    try:
        answer = await asked[0]
    except BaseException as error:
        answer = await exchange.rescue(error, asked, left, deadline)
    attempt.heard = answer.heard or now()
    return exchange.answered(answer)
