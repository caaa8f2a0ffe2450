"""One logical HTTP request on its way through the mesh: what the caller asked, and where it has been."""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from ..balancing import Endpoint
from ..routing.request import RouteRequest
from .classify import IDEMPOTENT, STATUSES

if TYPE_CHECKING:
    from ..mesh import Cluster
    from .family import Family

Road: TypeAlias = Callable[["Exchange", Endpoint, float], Coroutine[Any, Any, Any]]
"""Sends the exchange's request to an endpoint, to be answered by a deadline; returns at the response's headers."""


class Exchange:
    """What a `Call` carries through the layers (`call.what`)."""

    __slots__ = (
        "attempts", "cluster", "curable", "decision", "endpoint", "family", "repeatable", "replayable", "request",
        "road", "route", "service", "stream", "tried",
    )  # fmt: skip

    def __init__(self, request: Any, family: Family, road: Any, *, stream: bool) -> None:
        self.request = request
        self.service = ""
        self.decision: Any = None  # what routing said for the first attempt
        self.curable: Container[int] = STATUSES
        self.family = family
        self.road = road
        self.stream = stream  # the caller reads the body himself
        self.replayable = _replayable(request)
        headers = request.headers
        self.repeatable = self.replayable and (request.method in IDEMPOTENT or "idempotency-key" in headers)
        url = request.url
        self.route = RouteRequest(
            url.netloc.decode("ascii").lower(),
            request.method,
            url.path,
            url.query.decode("ascii"),
            headers.get,
            scheme=url.scheme,
        )
        self.tried: list[Endpoint] = []
        self.attempts = 0
        self.cluster: Cluster | None = None
        self.endpoint: Endpoint | None = None

    def note(self, error: BaseException) -> None:
        """Say on an error where it happened."""
        cluster = self.cluster.name if self.cluster is not None else "-"
        endpoint = self.endpoint.address if self.endpoint is not None else "-"
        for name, value in (
            ("service", self.service), ("cluster", cluster), ("endpoint", endpoint), ("attempt", self.attempts)
        ):  # fmt: skip
            try:
                setattr(error, name, value)
            except AttributeError:
                return
        error.add_note(f"service {self.service}, cluster {cluster}, endpoint {endpoint}, attempt {self.attempts}")

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.url}>"


def _replayable(request: Any) -> bool:
    """Can the body be read a second time? What is in memory can, and a form whose files can be rewound."""
    if hasattr(request, "_content") or type(request.stream).__name__ == "ByteStream":
        return True
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(
        hasattr(getattr(field, "file", b""), "seek") or _in_memory(field) for field in fields
    )


def _in_memory(field: Any) -> bool:
    return isinstance(getattr(field, "file", b""), bytes | str)
