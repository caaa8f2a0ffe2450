"""A plain request on its way: how is it asked of an endpoint, what is made of the answer, and of what goes wrong?

Nothing here is a coroutine but the exchange on the wire itself, and nothing of httpx is made that nobody looks at.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from ..balancing import Endpoint
from ..errors import DeadlineExceeded
from ..routing.context import DEADLINE_HEADER
from ._faults import ConnectTimeout, PoolTimeout, ReadTimeout, WireError, WriteTimeout
from ._pool import Pool
from ._reader import Answer
from ._wire import Connection, Stale
from .classify import EARLY, STATUSES
from .exchange import Attempt, Exchange
from .lean_plan import Plan
from .road import _log
from .wire_request import told_deadline

if TYPE_CHECKING:
    from ..mesh import Cluster
    from .lean import Lean

Asked: TypeAlias = tuple[Any, Connection | None, Pool]
"""What to await for the answer, the connection (if one was ready), and the pool that it belongs to."""

_PHASES: Final = ("connect", "read", "write", "pool")
_LATE: Final = (ConnectTimeout, PoolTimeout, ReadTimeout, WriteTimeout)
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})


class LeanExchange(Exchange):
    """An exchange whose httpx request is built only if somebody asks for it."""

    __slots__ = ("_request", "body", "client", "lean", "loop", "plan", "timeout")

    # The same for all of them: looked up in the class, and never set.
    stream = False
    plain = True
    replayable = True

    def __init__(
        self, lean: Lean, client: Any, plan: Plan, body: bytes, timeout: Any, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._request: Any = None
        self.lean = lean
        self.client = client
        self.plan = plan
        self.body = body
        self.timeout = timeout  # the family's own `Timeout`
        self.loop: asyncio.AbstractEventLoop = loop  # the running one
        self.family = lean.family
        road: Any = carry  # it is only ever given exchanges of this kind
        self.road = road
        self.start = lean.now()
        self.deadline = inf
        self.repeatable = plan.repeatable
        self.route = plan.route
        self.service = ""
        self.decision = None
        self.curable = STATUSES
        self.attempts = 0
        self.tried = []
        self.newest = None

    @property
    def request(self) -> Any:
        if self._request is None:
            self._request = self.plan.request(self.body, {phase: getattr(self.timeout, phase) for phase in _PHASES})
        return self._request

    def ask(self, endpoint: Endpoint, cluster: Cluster, left: float) -> Asked:
        """Send it to `endpoint`: the answer is to be awaited, and comes within `left` seconds, for the connection
        keeps that time itself. Whatever is raised while one waits, give it to `rescue`."""
        plan, body, timeout, loop = self.plan, self.body, self.timeout, self.loop
        # Whom the endpoint's certificate must name; "" without TLS.
        name = (cluster.tls_name or plan.host) if plan.secure or cluster.tls else ""
        pool = self.lean.lane.pool(endpoint, name, cluster.max_connection_duration, loop)
        connection = pool.ready(loop, plan.repeatable)
        if connection is not None:
            return self._over(connection, left), connection, pool
        answer = pool.exchange(
            plan.head(body) if self.deadline == inf else self._told(left),
            body,
            method=plan.verb,
            connect=timeout.connect,
            read=timeout.read,
            write=timeout.write,
            pool=timeout.pool,
            replayable=plan.repeatable,
            keep=plan.keep,
            by=loop.time() + left,
        )
        return answer, None, pool

    def _told(self, left: float) -> bytes:
        """The head, with the caller's deadline in it, as `wire_request` has it."""
        head = self.plan.head(self.body)
        if self.plan.route.header(DEADLINE_HEADER) is not None:
            return head
        return b"%b%b: %b\r\n\r\n" % (head[:-2], DEADLINE_HEADER.encode(), told_deadline(left).encode())

    def _over(self, connection: Connection, left: float) -> asyncio.Future[Answer]:
        plan, body, timeout = self.plan, self.body, self.timeout
        head = plan.head(body) if self.deadline == inf else self._told(left)
        return connection.exchange(
            head, body, plan.verb, timeout.read, timeout.write, plan.repeatable, plan.keep, False, left
        )

    async def rescue(self, error: BaseException, asked: Asked, left: float, deadline: float) -> Answer:
        """The answer over another connection, if the one that was ready had died unseen; else `error` is raised, as
        httpx tells it. There were `left` seconds until `deadline`."""
        waiter, connection, pool = asked
        try:
            if connection is None or isinstance(error, WireError):
                raise error
            if not isinstance(error, Stale):
                connection.abandon(waiter)
                raise error
            by = self.loop.time() + (deadline - self.lean.now() if deadline < inf else inf)
            connection = await pool.instead(connection, self.timeout.connect, by)
            waiter = self._over(connection, by - self.loop.time() if by < inf else inf)
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

    def answered(self, answer: Answer) -> Any:
        """The response. Raises what httpx raises for a body whose coding is broken."""
        family = self.family
        response = family.LazyResponse(answer, self, self.client._default_encoding)
        if family.log.isEnabledFor(logging.INFO):
            _log(self, response)
        if not answer.head.plain:
            self._heed(answer, response)
        return response

    def _heed(self, answer: Answer, response: Any) -> None:
        """See to what most answers do not have: cookies and content codings."""
        names = {name.lower() for name, _ in answer.head.headers}
        if b"content-encoding" in names and answer.body:
            response._content = self._decoded(answer)
        response._sets_cookies = not names.isdisjoint(_COOKIES)

    def _decoded(self, answer: Answer) -> bytes:
        """The body without its content codings, as the family's own response reads it."""
        lib = self.family.lib
        try:
            whole = lib.Response(answer.head.status, headers=answer.head.headers, stream=lib.ByteStream(answer.body))
            content: bytes = whole.read()
        except lib.DecodingError as error:
            error.request = self.request
            raise
        return content


async def carry(attempt: Attempt) -> Any:
    """One attempt at a plain request, as `Road` wants it."""
    exchange: LeanExchange = attempt.what
    endpoint, deadline = attempt.endpoint, attempt.deadline
    assert endpoint is not None
    if not attempt.decision.plain:  # the attempt before may have been routed elsewhere
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
