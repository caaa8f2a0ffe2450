"""What does httpx make of a plain request? Asked once, and used again for every request that is alike."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..routing.request import RouteRequest
from ._request import request_bytes
from .classify import IDEMPOTENT, STATUSES
from .exchange import Exchange

if TYPE_CHECKING:
    from ..mesh import Cluster
    from .door import Door

Field: TypeAlias = tuple[bytes, bytes]
_PHASES: Final = ("connect", "read", "write", "pool")
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "upgrade", "expect"})


class Plan:
    """What httpx makes of a method, a URL, a kind of body and headers: all of the request but the body itself.

    `auto` counts the header fields that httpx puts before the caller's own, and behind them.
    """

    __slots__ = (
        "after",
        "auto",
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

    def __init__(
        self,
        lib: Any,
        method: str,
        url: Any,
        fields: list[Field],
        route: RouteRequest,
        body: bytes,
        auto: tuple[int, int],
    ) -> None:
        self.lib = lib
        self.method = method
        self.verb = method.encode("ascii")
        self.url = url
        self.host: str = url.host
        self.secure = url.scheme == "https"
        self.fields = fields
        self.auto = auto
        self.route = route
        self.repeatable = method in IDEMPOTENT or route.header("idempotency-key") is not None
        head, _, self.keep = request_bytes(self.verb, url.raw_path, fields, body)
        length = b"Content-Length: %d\r\n" % len(body)
        self.before, _, self.after = head.partition(length) if body else (head, b"", b"")

    def with_headers(self, merged: Any, body: bytes) -> Plan | None:
        """The same plan for a request with headers of its own; None if they meddle with what httpx says by itself."""
        names = merged.keys()
        if not _FRAMING.isdisjoint(names):
            return None
        lead, tail = self.auto
        fields = [*self.fields[:lead], *merged.raw]
        fields += [field for field in self.fields[len(self.fields) - tail :] if field[0].lower().decode() not in names]
        fields = [(name, b"%d" % len(body) if body and name == b"Content-Length" else value) for name, value in fields]
        old, lib = self.route, self.lib

        def header(name: str) -> str | None:
            value: str | None = lib.Headers(fields).get(name)
            return value

        route = RouteRequest(old.host, old.method, old.path, old.query, header, old.labels, scheme=old.scheme)
        return Plan(lib, self.method, self.url, fields, route, body, self.auto)

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

    __slots__ = ("_request", "body", "client", "connect", "encoding", "plan", "pool", "read", "write")

    def __init__(self, client: Any, plan: Plan, body: bytes, door: Door, timeout: Any, encoding: Any) -> None:
        lean = door.lean
        assert lean is not None
        self._request: Any = None
        self.client = client
        self.plan = plan
        self.body = body
        self.connect, self.read, self.write, self.pool = timeout.connect, timeout.read, timeout.write, timeout.pool
        self.encoding = encoding
        self.family = door.family
        road: Any = lean.attempt  # it is only ever given exchanges of this kind
        self.road = road
        self.stream = False
        self.plain = True
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
        self.newest = None

    @property
    def request(self) -> Any:
        if self._request is None:
            self._request = self.plan.request(self.body, {phase: getattr(self, phase) for phase in _PHASES})
        return self._request

    def name(self, cluster: Cluster) -> str:
        """Whom the endpoint's certificate must name; "" without TLS."""
        if not self.plan.secure and not cluster.tls:
            return ""
        return cluster.tls_name or self.plan.host
