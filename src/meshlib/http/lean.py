"""How does `client.get("http://users/v1/me")` go out without httpx's models? The lean path of the fast lane.

httpx needs 140 to 200 µs to build a request and to send it through its steps. A plain request needs none of that: what
httpx would make of it is always the same. So httpx is asked once (`Plan`), and its answer is used again for as long as
nothing that went into it has changed. From there on all is as for any other request: routing, the service's pipeline,
the cluster's gates, the balancer. Whatever is not plain takes httpx's own steps.
"""

from __future__ import annotations

import importlib
import logging
from asyncio import _get_running_loop as _asyncio_loop
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeadlineExceeded, MeshError, Rejected
from ..routing.request import RouteRequest
from ..runtime import SYSTEM
from ._faults import ConnectTimeout, PoolTimeout, ReadTimeout, WireError, WriteTimeout
from ._reader import Answer
from .beneath import let_others_run
from .classify import EARLY
from .lean_engine import LeanEngine
from .lean_plan import LeanExchange, Plan
from .road import _log
from .untouched import Steps

if TYPE_CHECKING:
    from .door import Door
    from .exchange import Attempt
    from .fast_road import Lane

PLANS: Final = 2048  # kept per client; then all are made afresh
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})
_LATE: Final = (ConnectTimeout, PoolTimeout, ReadTimeout, WriteTimeout)
_ABSENT: Final = frozenset({"data", "files", "params", "cookies", "extensions"})  # arguments whose default is None


class Lean:
    """The lean path of one client."""

    __slots__ = (
        "_base_url",
        "_door",
        "_encode_json",
        "_family",
        "_headers",
        "_labels",
        "_lane",
        "_log",
        "_opened",
        "_plans",
        "_steps",
        "_unset",
    )

    def __init__(self, door: Door, lane: Lane, kind: type[Any]) -> None:
        self._door = door
        self._lane = lane
        self._family = door.family
        self._log = door.family.log
        lib = door.family.lib
        self._unset = lib.USE_CLIENT_DEFAULT
        self._opened = importlib.import_module(f"{lib.__name__}._client").ClientState.OPENED
        self._encode_json = importlib.import_module(f"{lib.__name__}._content").encode_json
        self._steps = Steps(door.family, kind)
        self._plans: dict[tuple[str, str, str], Plan | None] = {}
        self._headers: list[Any] = []
        self._base_url: Any = None
        self._labels: Any = None

    def exchange(self, client: Any, method: str, url: Any, options: dict[str, Any]) -> LeanExchange | None:
        """The exchange for a plain request; None if it is not plain, or if anything about the client is not."""
        body, kind = b"", ""
        timeout = headers = None
        if options:
            unset = self._unset
            for name, value in options.items():
                if value is unset or (value is None and name in _ABSENT):
                    continue
                if name == "json" and value is not None and not kind:
                    kind = "json"
                elif name == "content" and value and isinstance(value, str | bytes) and not kind:
                    kind = "content"
                elif name == "timeout":
                    timeout = self._family.lib.Timeout(value)
                elif name == "headers" and value is not None:
                    headers = value
                elif not (name == "follow_redirects" and isinstance(value, bool)) and not (
                    value is None and name in ("json", "content", "headers")
                ):
                    return None
        own = client.__dict__
        door = self._door
        hooks = own["_event_hooks"]
        if (
            door.engine is None
            or door.closing
            or door.limit is not None
            or type(url) is not str
            or own["_auth"] is not None
            or own["_cookies"].jar._cookies
            or hooks["request"]
            or hooks["response"]
            or own["_params"]
            or own["_mounts"]
            or own["_transport"] is not door.default
            or own["_state"] is not self._opened
            or door.engine.run is not SYSTEM
            or not self._lane.open()
            or not self._steps.untouched(client)
        ):
            return None
        if (
            own["_headers"]._list != self._headers
            or own["_base_url"] is not self._base_url
            or door.engine.mesh.labels is not self._labels
        ):
            self._plans = {}
            self._headers = list(own["_headers"]._list)
            self._base_url = own["_base_url"]
            self._labels = door.engine.mesh.labels
        key = method, url, kind
        plan = self._plans.get(key)
        if plan is None:
            if key in self._plans:
                return None
            plan = self._plan(client, key)
            if plan is None:
                return None
        if kind == "json":
            body = b"".join(self._encode_json(options["json"])[1])
        elif kind:
            value = options["content"]
            body = value.encode() if isinstance(value, str) else value
        if headers is not None:
            try:
                plan = plan.with_headers(client._merge_headers(headers), body)
            except WireError:
                return None  # httpx shall say what is wrong with them
            if plan is None:
                return None
        exchange = LeanExchange(client, plan, body, door, timeout or own["_timeout"], own["_default_encoding"])
        decision = door.engine.decide(exchange)
        return exchange if decision is not None and decision.plain else None

    def _plan(self, client: Any, key: tuple[str, str, str]) -> Plan | None:
        method, url, kind = key
        if len(self._plans) >= PLANS:
            self._plans.clear()
        sample: dict[str, Any] = {"json": {}} if kind == "json" else {"content": "{}"} if kind else {}
        request = client.build_request(method, url, **sample)
        lengths = request.headers.get_list("content-length")
        plain = (
            request.url.scheme in ("http", "https")
            and not request.url.userinfo
            and request.method != "CONNECT"
            and not request.headers.keys() & {"upgrade", "transfer-encoding", "expect"}
            and (lengths == ["2"] if kind else lengths in ([], ["0"]))
        )
        if not plain:
            self._plans[key] = None
            return None
        where = request.url
        host, query = where.netloc.decode("ascii").lower(), where.query.decode("ascii")
        route = RouteRequest(
            host, request.method, where.path, query, request.headers.get, self._labels, scheme=where.scheme
        )
        fields = request.headers.raw
        own = [(name, value) for name, _, value in self._headers]
        tail = {"json": 2, "content": 1}.get(kind, 0)
        lead = len(fields) - len(own) - tail
        if fields[lead : lead + len(own)] != own:
            self._plans[key] = None
            return None
        try:
            plan = Plan(self._family.lib, request.method, where, fields, route, request._content, (lead, tail))
        except WireError:
            plan = None
        self._plans[key] = plan
        return plan

    async def send(self, client: Any, exchange: LeanExchange, options: dict[str, Any]) -> Any:
        """The response to a plain request, with all that httpx does to it on its way to the caller."""
        door = self._door
        engine = LeanEngine.of(door.engine.mesh)
        door.busy.add(exchange)
        try:
            try:
                response = await engine.send(exchange)
            except (MeshError, self._family.lib.RequestError) as error:
                if isinstance(error, Rejected):
                    await let_others_run()
                dressed = door.dressed(error, exchange)
                if dressed is error:
                    raise
                raise dressed from error.__cause__
            if type(response) is not self._family.LazyResponse:
                return door.finish(
                    response, exchange.request, client.cookies, exchange.encoding, engine.now() - exchange.start
                )
            response._took = engine.now() - exchange.start
            if response._sets_cookies:
                client.cookies.extract_cookies(response)
            if response.status_code in _REDIRECTS:
                # httpx's own steps decide what follows, beginning with the answer that is here already.
                request = response.request
                request._meshlib_answer = response
                return await client.send(request, follow_redirects=options.get("follow_redirects", self._unset))
            return response
        finally:
            door.done(exchange)

    async def attempt(self, attempt: Attempt) -> Any:
        """One attempt, as `Road` wants it. The connection keeps the deadline, so that it costs no timer of its own."""
        exchange: LeanExchange = attempt.what
        endpoint, deadline = attempt.endpoint, attempt.deadline
        assert endpoint is not None
        if not attempt.decision.plain:  # the attempt before may have been routed elsewhere
            return await exchange.client._road(attempt)
        run = self._door.engine.run
        plan, body = exchange.plan, exchange.body
        loop = _asyncio_loop()
        assert loop is not None
        left, by = inf, inf
        if deadline < inf:
            left = deadline - run.now()
            by = loop.time() + left
        try:
            answer = await self._lane.pool(endpoint, exchange.name(attempt.cluster)).exchange(
                plan.head(body),
                body,
                method=plan.verb,
                connect=exchange.connect,
                read=exchange.read,
                write=exchange.write,
                pool=exchange.pool,
                replayable=exchange.repeatable,
                keep=plan.keep,
                by=by,
            )
        except WireError as error:
            if self._door.closed:
                raise self._door.cut_off(attempt) from error
            told = error.told(self._family.lib, exchange.request)
            if isinstance(error, _LATE) and run.now() >= deadline - EARLY:
                raise DeadlineExceeded(exchange.service, limit=left) from told
            raise told from error
        attempt.heard = answer.heard or run.now()
        response = self._family.LazyResponse(answer, exchange, exchange.encoding)
        if self._log.isEnabledFor(logging.INFO):
            _log(exchange, response)
        if not answer.plain:
            self._heed(exchange, answer, response)
        return response

    def _heed(self, exchange: LeanExchange, answer: Answer, response: Any) -> None:
        """See to what most answers do not have: cookies and content codings."""
        names = {name.lower() for name, _ in answer.headers}
        if b"content-encoding" in names and answer.body:
            response._content = _decoded(exchange, answer)
        response._sets_cookies = not names.isdisjoint(_COOKIES)


def _decoded(exchange: LeanExchange, answer: Answer) -> bytes:
    """The body without its content codings, as the family's own response reads it."""
    lib = exchange.family.lib
    try:
        whole = lib.Response(answer.status, headers=answer.headers, stream=lib.ByteStream(answer.body))
        content: bytes = whole.read()
    except lib.DecodingError as error:
        error.request = exchange.request
        raise
    return content
