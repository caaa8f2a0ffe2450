"""How does `client.get("http://users/v1/me")` go out without httpx's models? The lean path of the fast lane.

httpx needs 140 to 200 µs to build a request and to send it through its steps. A plain request needs none of that: what
httpx would make of it is always the same. So httpx is asked once (`Plan`), and its answer is used again for as long as
nothing that went into it has changed. From there on all is as for any other request: routing, the service's pipeline,
the cluster's gates, the balancer. Whatever is not plain takes httpx's own steps.
"""

from __future__ import annotations

import functools
import importlib
import logging
from asyncio import _get_running_loop as _asyncio_loop
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..balancing import Endpoint
from ..errors import DeadlineExceeded, MeshError
from ..routing.request import RouteRequest
from ..runtime import SYSTEM
from ._faults import ConnectTimeout, PoolTimeout, ReadTimeout, WireError, WriteTimeout
from ._reader import Answer
from ._request import request_bytes
from .classify import EARLY, IDEMPOTENT, STATUSES
from .exchange import Exchange
from .lean_engine import LeanEngine
from .road import _log
from .untouched import Steps, original

if TYPE_CHECKING:
    from .door import Door
    from .fast_road import Lane

C = TypeVar("C", bound=type[Any])
VERBS: Final = ("get", "options", "head", "post", "put", "patch", "delete", "query")
PLANS: Final = 2048  # kept per client; then all are made afresh
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PHASES: Final = ("connect", "read", "write", "pool")
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})
_LATE: Final = (ConnectTimeout, PoolTimeout, ReadTimeout, WriteTimeout)
_ABSENT: Final = frozenset({"data", "files", "params", "cookies", "extensions"})  # arguments whose default is None


class Plan:
    """What httpx makes of a method, a URL and a kind of body: all of the request but the body itself."""

    __slots__ = (
        "after",
        "before",
        "fields",
        "host",
        "keep",
        "lib",
        "method",
        "repeatable",
        "route",
        "secure",
        "url",
        "verb",
    )

    def __init__(self, request: Any, lib: Any, route: RouteRequest) -> None:
        self.lib = lib
        self.method: str = request.method
        self.verb: bytes = request.method.encode("ascii")
        self.url = request.url
        self.host: str = request.url.host
        self.secure = request.url.scheme == "https"
        self.fields: list[tuple[bytes, bytes]] = request.headers.raw
        self.route = route
        self.repeatable = request.method in IDEMPOTENT or "idempotency-key" in request.headers
        head, _, self.keep = request_bytes(self.verb, request.url.raw_path, self.fields, request._content)
        length = b"Content-Length: %d\r\n" % len(request._content)
        self.before, _, self.after = head.partition(length) if request._content else (head, b"", b"")

    def head(self, body: bytes) -> bytes:
        return b"%bContent-Length: %d\r\n%b" % (self.before, len(body), self.after) if body else self.before

    def request(self, body: bytes, timeout: dict[str, float | None]) -> Any:
        """The request as httpx would have built it."""
        fields = self.fields
        if body:
            length = b"%d" % len(body)
            fields = [(name, length if name == b"Content-Length" else value) for name, value in fields]
        lib = self.lib
        request = lib.Request(
            self.method, self.url, headers=fields, stream=lib.ByteStream(body), extensions={"timeout": timeout}
        )
        request.read()
        return request


class LeanExchange(Exchange):
    """An exchange whose httpx request is built only if somebody asks for it."""

    __slots__ = ("_request", "body", "connect", "encoding", "plan", "pool", "read", "write")

    def __init__(self, plan: Plan, body: bytes, door: Door, timeout: Any, encoding: Any) -> None:
        lean = door.lean
        assert lean is not None
        self._request: Any = None
        self.plan = plan
        self.body = body
        self.connect, self.read, self.write, self.pool = timeout.connect, timeout.read, timeout.write, timeout.pool
        self.encoding = encoding
        self.family = door.family
        road: Any = lean.attempt  # it is only ever given exchanges of this kind
        self.road = road
        self.stream = False
        self.start = door.engine.now()
        self.deadline = inf
        self.replayable = True
        self.repeatable = plan.repeatable
        self.route = plan.route
        self.service = ""
        self.decision = None
        self.curable = STATUSES
        self.attempts = 0
        self.tried = []
        self.cluster = None
        self.endpoint = None
        self.heard = 0.0
        self.release = None

    @property
    def request(self) -> Any:
        if self._request is None:
            self._request = self.plan.request(self.body, {phase: getattr(self, phase) for phase in _PHASES})
        return self._request

    def name(self) -> str:
        """Whom the endpoint's certificate must name; "" without TLS."""
        if not self.plan.secure:
            return ""
        return (self.cluster.tls_name if self.cluster is not None else None) or self.plan.host


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
        timeout = None
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
        exchange = LeanExchange(plan, body, door, timeout or own["_timeout"], own["_default_encoding"])
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
        try:
            plan = Plan(request, self._family.lib, route)
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
            response = await engine.send(exchange)
        except (MeshError, self._family.lib.RequestError) as error:
            dressed = door.dressed(error, exchange)
            if dressed is error:
                raise
            raise dressed from error.__cause__
        finally:
            door.done(exchange)
        response._took = engine.now() - exchange.start
        if response._sets_cookies:
            client.cookies.extract_cookies(response)
        if response.status_code in _REDIRECTS:
            # httpx's own steps decide what follows, beginning with the answer that is here already.
            request = response.request
            request._meshlib_answer = response
            return await client.send(request, follow_redirects=options.get("follow_redirects", self._unset))
        return response

    async def attempt(self, exchange: LeanExchange, endpoint: Endpoint, deadline: float) -> Any:
        """One attempt, as `Road` wants it. The connection keeps the deadline, so that it costs no timer of its own."""
        run = self._door.engine.run
        plan, body = exchange.plan, exchange.body
        loop = _asyncio_loop()
        assert loop is not None
        left, by = inf, inf
        if deadline < inf:
            left = deadline - run.now()
            by = loop.time() + left
        try:
            answer = await self._lane.pool(endpoint, exchange.name()).exchange(
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
            told = error.told(self._family.lib, exchange.request)
            if isinstance(error, _LATE) and run.now() >= deadline - EARLY:
                raise DeadlineExceeded(exchange.service, limit=left) from told
            raise told from error
        exchange.heard = answer.heard or run.now()
        response = self._family.LazyResponse(answer, exchange, exchange.encoding)
        if self._log.isEnabledFor(logging.INFO):
            _log(exchange, response)
        if not answer.plain:
            self._heed(exchange, answer, response)
        return response

    def _heed(self, exchange: LeanExchange, answer: Answer, response: Any) -> None:
        """See to what most answers do not have: cookies and content codings."""
        names = {name.lower() for name, _ in answer.headers}
        if b"content-encoding" in names:
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


def leanly(kind: C) -> C:
    """Have the verbs of a client class try the lean path first. Their signatures and documentation stay httpx's."""
    for verb in VERBS:
        if hasattr(kind, verb):
            setattr(kind, verb, _verb(kind, verb))
    setattr(kind, "request", _request(kind))  # noqa: B010 (mypy knows httpx's own signature, and shall)
    return kind


def _verb(kind: type[Any], verb: str) -> Any:
    lib = kind._family.lib
    written = getattr(lib.AsyncClient, verb)
    ours = original(written, lib)
    method = verb.upper()

    @functools.wraps(written)
    async def send(self: Any, url: Any, **options: Any) -> Any:
        lean = self._lean
        if lean is not None and ours and getattr(lib.AsyncClient, verb) is written:
            exchange = lean.exchange(self, method, url, options)
            if exchange is not None:
                return await lean.send(self, exchange, options)
        return await getattr(super(kind, self), verb)(url, **options)

    return send


def _request(kind: type[Any]) -> Any:
    @functools.wraps(kind._family.lib.AsyncClient.request)
    async def request(self: Any, method: Any, url: Any, **options: Any) -> Any:
        lean = self._lean
        if lean is not None and type(method) is str:
            exchange = lean.exchange(self, method, url, options)
            if exchange is not None:
                return await lean.send(self, exchange, options)
        return await super(kind, self).request(method, url, **options)

    return request
