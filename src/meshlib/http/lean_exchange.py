"""A plain request on its way: how is it asked of an endpoint, what is made of the answer, and of what goes wrong?

Nothing here is a coroutine but the exchange on the wire itself, and nothing of httpx is made that nobody looks at.
"""

from __future__ import annotations

import logging
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..balancing import Endpoint
from ..errors import DeadlineExceeded
from ._faults import ConnectTimeout, PoolTimeout, ReadTimeout, WireError, WriteTimeout
from ._reader import Answer
from .classify import EARLY, STATUSES
from .exchange import Attempt, Exchange
from .lean_plan import Plan
from .road import _log

if TYPE_CHECKING:
    from ..mesh import Cluster
    from .lean import Lean

_PHASES: Final = ("connect", "read", "write", "pool")
_LATE: Final = (ConnectTimeout, PoolTimeout, ReadTimeout, WriteTimeout)
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})


class LeanExchange(Exchange):
    """An exchange whose httpx request is built only if somebody asks for it."""

    __slots__ = ("_request", "body", "client", "encoding", "lean", "plan", "timeout")

    # The same for all of them: looked up in the class, and never set.
    stream = False
    plain = True
    replayable = True

    def __init__(self, lean: Lean, client: Any, plan: Plan, body: bytes, timeout: Any, encoding: Any) -> None:
        self._request: Any = None
        self.lean = lean
        self.client = client
        self.plan = plan
        self.body = body
        self.timeout = timeout  # the family's own `Timeout`
        self.encoding = encoding
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

    def ask(self, endpoint: Endpoint, cluster: Cluster, left: float) -> Coroutine[Any, Any, Answer]:
        """Send it to `endpoint`; the answer comes within `left` seconds. The connection itself keeps that time."""
        plan, body, timeout = self.plan, self.body, self.timeout
        loop = _asyncio_loop()
        assert loop is not None
        # Whom the endpoint's certificate must name; "" without TLS.
        name = (cluster.tls_name or plan.host) if plan.secure or cluster.tls else ""
        return self.lean.lane.pool(endpoint, name, loop).exchange(
            plan.head(body) if body else plan.before,
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

    def complain(self, error: WireError, left: float, deadline: float) -> NoReturn:
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
        response = family.LazyResponse(answer, self, self.encoding)
        if family.log.isEnabledFor(logging.INFO):
            _log(self, response)
        if not answer.plain:
            self._heed(answer, response)
        return response

    def _heed(self, answer: Answer, response: Any) -> None:
        """See to what most answers do not have: cookies and content codings."""
        names = {name.lower() for name, _ in answer.headers}
        if b"content-encoding" in names and answer.body:
            response._content = self._decoded(answer)
        response._sets_cookies = not names.isdisjoint(_COOKIES)

    def _decoded(self, answer: Answer) -> bytes:
        """The body without its content codings, as the family's own response reads it."""
        lib = self.family.lib
        try:
            whole = lib.Response(answer.status, headers=answer.headers, stream=lib.ByteStream(answer.body))
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
    try:
        answer = await exchange.ask(endpoint, attempt.cluster, left)
    except WireError as error:
        exchange.complain(error, left, deadline)
    attempt.heard = answer.heard or now()
    return exchange.answered(answer)
