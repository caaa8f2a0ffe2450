"""How does `client.get("http://users/v1/me")` go out without httpx's models? The lean path of the fast lane.

httpx needs 140 to 200 µs to build a request and to send it through its steps. A plain request needs none of that: what
httpx would make of it is always the same. So httpx is asked once (`RequestPlan`), and its answer is used again for as
long as nothing that went into it has changed. From there on all is as for any other request: routing, the service's
pipeline, the cluster's gates, the balancer. Whatever is not plain takes httpx's own steps.
"""

from __future__ import annotations

import importlib
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...errors import Rejected
from ...routing.request import RouteRequest
from ...runtime import SYSTEM
from ...wire.h1_errors import WireError
from ..engine.fast_exchange import FastExchange
from ..engine.fused_attempt import FusedEngine
from ..plan.json_body import Json
from ..plan.patches import ClientPatches
from ..plan.request_plan import RequestPlan
from ..transports.httpx_pools import let_others_run

if TYPE_CHECKING:
    from ..transports.own_transport import OwnTransport
    from .client_state import ClientState

Key: TypeAlias = tuple[Any, ...]  # method, URL, kind of body, and what is asked for by `params`
Asked: TypeAlias = tuple[str, Any, Any, Any]
PLANS: Final = 2048  # kept per client; then all are made afresh
VARIANTS: Final = 64  # the same for a plan's own, with headers
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ABSENT: Final = frozenset({"data", "files", "params", "cookies", "extensions"})  # arguments whose default is None
_NOTHING: Final[Asked] = "", None, None, None
_attributes: Final = itemgetter(
    "_headers", "_event_hooks", "_cookies", "_mounts", "_timeout",
    "_base_url", "_auth", "_params", "_transport", "_state",
)  # fmt: skip


class FastPath:
    """The lean path of one client."""

    __slots__ = (
        "_base_url",
        "_engine",
        "_headers",
        "_json",
        "_labels",
        "_no_params",
        "_opened",
        "_plans",
        "_steps",
        "_unset",
        "door",
        "engine",
        "family",
        "lane",
        "now",
    )

    def __init__(self, door: ClientState, lane: OwnTransport, kind: type[Any]) -> None:
        self.door: ClientState = door
        self.lane: OwnTransport = lane
        self.family: Any = door.family
        self.now: Callable[[], float] = SYSTEM.now
        lib = door.family.lib
        self._unset = lib.USE_CLIENT_DEFAULT
        self._opened = importlib.import_module(f"{lib.__name__}._client").ClientState.OPENED
        self._json = Json(lib)
        self._engine: Any = ...  # the door's; `engine` is that of this path for the same mesh
        self.engine: FusedEngine
        self._steps = ClientPatches(door.family, kind, lane.way)
        self._plans: dict[Key, RequestPlan | None] = {}
        self._no_params: Any = None  # the client's, when they were last found empty
        self._headers: list[Any] = []
        self._base_url: Any = None
        self._labels: Any = None

    def exchange(self, client: Any, method: Any, url: Any, options: dict[str, Any]) -> FastExchange | None:
        """The exchange for a plain request; None if it is not plain, or if anything about the client is not."""
        asked = self._asked(options) if options else _NOTHING
        if asked is None:
            return None
        kind, timeout, headers, params = asked
        own = client.__dict__
        door = self.door
        own_headers, hooks, cookies, mounts, usual_timeout, base_url, auth, added, transport, state = _attributes(own)
        if (
            door.closing
            or door.limit is not None
            or _asyncio_loop() is None
            or type(url) is not str
            or type(method) is not str
            or hooks["request"]
            or hooks["response"]
            or cookies.jar._cookies
            or mounts
            or auth is not None
            # By `is`: a tracer's proxy is equal to the transport, and to compare cookies may raise.
            or transport is not door.default
            or state is not self._opened
            or (added is not self._no_params and not self._without(added))
            or (door.engine is not self._engine and not self._joined(door.engine))
            or not self._steps.untouched(own)
        ):
            return None
        engine = self.engine
        if (
            own_headers._list != self._headers
            or base_url is not self._base_url
            or engine.mesh.labels is not self._labels
        ):
            self._plans = {}
            self._headers = list(own_headers._list)
            self._base_url = base_url
            self._labels = engine.mesh.labels
        key: Key = (method, url, kind) if params is None else (method, url, kind, *params.items())
        plan = self._plans.get(key)
        if plan is None:
            if key in self._plans:
                return None
            plan = self._plan(client, key, method, url, kind, params)
            if plan is None:
                return None
        body = self._body(kind, options) if kind else b""
        if headers is not None:
            plan = self._with_headers(client, plan, headers, body)
            if plan is None:
                return None
        exchange = FastExchange(self, client, plan, body, timeout or usual_timeout)
        decision = engine.decide(exchange)
        return exchange if decision is not None and decision.plain else None

    def _asked(self, options: dict[str, Any]) -> Asked | None:
        """The kind of body, and the timeout, headers and params that are asked for; None if there is anything else."""
        kind = ""
        timeout = headers = params = None
        unset = self._unset
        for name, value in options.items():
            if value is unset or (value is None and name in _ABSENT):
                continue
            if name == "json" and value is not None and not kind:
                kind = "json"
            elif name == "content" and value and isinstance(value, str | bytes) and not kind:
                kind = "content"
            elif name == "timeout":
                timeout = self.family.lib.Timeout(value)
            elif name == "headers" and value is not None:
                headers = value
            elif name == "params" and _plain_params(value):
                params = value
            elif not (name == "follow_redirects" and isinstance(value, bool)) and not (
                value is None and name in ("json", "content", "headers")
            ):
                return None
        return kind, timeout, headers, params

    def _without(self, params: Any) -> bool:
        """Whether the client adds no `params` to its requests. They never change, so those seen last are remembered."""
        if params:
            return False
        self._no_params = params
        return True

    def _joined(self, engine: Any) -> bool:
        """Whether the mesh is one whose calls need no runtime but the usual one."""
        if engine is None or engine.run is not SYSTEM:
            return False
        self.engine = FusedEngine.of(engine.mesh)
        self._engine = engine
        return True

    def _body(self, kind: str, options: dict[str, Any]) -> bytes:
        if kind == "json":
            return self._json.encode(options["json"])
        value = options["content"]
        return value.encode() if isinstance(value, str) else bytes(value)

    def _with_headers(self, client: Any, plan: RequestPlan, headers: Any, body: bytes) -> RequestPlan | None:
        """The plan with a request's own headers. Some callers say the same with each request, so some are kept."""
        said = tuple(headers.items()) if type(headers) is dict else ()
        try:
            known = plan.variants.get(said)
        except TypeError:
            return None  # a value that httpx will complain about
        if known is not None:
            return known
        try:
            made = plan.with_headers(client._merge_headers(headers), body)
        except WireError:
            return None  # httpx shall say what is wrong with them
        if made is not None and said:
            if len(plan.variants) >= VARIANTS:
                plan.variants.clear()
            plan.variants[said] = made
        return made

    def _plan(self, client: Any, key: Key, method: str, url: str, kind: str, params: Any) -> RequestPlan | None:
        if len(self._plans) >= PLANS:
            self._plans.clear()
        sample: dict[str, Any] = {"json": {}} if kind == "json" else {"content": "{}"} if kind else {}
        if params is not None:
            sample["params"] = params
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
            plan = RequestPlan(self.family.lib, request.method, where, fields, route, request._content, (lead, tail))
        except WireError:
            plan = None
        self._plans[key] = plan
        return plan

    async def finish(self, client: Any, exchange: FastExchange, response: Any, options: dict[str, Any]) -> Any:
        """All that httpx does to a response on its way to the caller, where it is more than nothing."""
        exchange.took = self.now() - exchange.start
        if type(response) is not self.family.LazyResponse:
            return self.door.finish(response, exchange.request, client.cookies, client._default_encoding, exchange.took)
        if response._sets_cookies:
            client.cookies.extract_cookies(response)
        if response.status_code in _REDIRECTS:
            # httpx's own steps decide what follows, beginning with the answer that is here already.
            request = response.request
            request._meshlib_answer = response
            return await client.send(request, follow_redirects=options.get("follow_redirects", self._unset))
        return response

    async def dressed(self, error: Any, exchange: FastExchange) -> Any:
        """The error to be raised for `error`."""
        if isinstance(error, Rejected):
            await let_others_run()
        return self.door.dressed(error, exchange)


def _plain_params(params: Any) -> bool:
    """Whether a plan for these serves all that are equal to them. 1, 1.0 and True are, and each is sent otherwise."""
    if type(params) is not dict or not params:
        return False
    return all(type(name) is str and (type(value) is str or type(value) is int) for name, value in params.items())
