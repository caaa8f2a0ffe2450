"""What does httpx make of a plain request? Asked once, and used again for every request that is alike."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from ...routing.request import RouteRequest
from ...wire.request_writer import request_bytes
from ..engine.classify import IDEMPOTENT

Field: TypeAlias = tuple[bytes, bytes]
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "upgrade", "expect"})


class RequestPlan:
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
        "variants",
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
        self.lib: Any = lib
        self.method: str = method
        self.verb: bytes = method.encode("ascii")
        self.url: Any = url
        self.host: str = url.host
        self.secure: Any = url.scheme == "https"
        self.fields: list[Field] = fields
        self.variants: dict[Any, RequestPlan] = {}  # by the headers that some requests add
        self.auto: tuple[int, int] = auto
        self.route: RouteRequest = route
        self.repeatable: bool = method in IDEMPOTENT or route.header("idempotency-key") is not None
        self.keep: bool
        head, _, self.keep = request_bytes(self.verb, url.raw_path, fields, body)
        length = b"Content-Length: %d\r\n" % len(body)
        self.before: bytes
        self.after: bytes
        self.before, _, self.after = head.partition(length) if body else (head, b"", b"")

    def with_headers(self, merged: Any, body: bytes) -> RequestPlan | None:
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
        return RequestPlan(lib, self.method, self.url, fields, route, body, self.auto)

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
