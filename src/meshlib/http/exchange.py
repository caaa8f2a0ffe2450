"""One logical HTTP request on its way through the mesh: what the caller asked, and where it has been."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from ..balancing import Endpoint
from ..routing.request import RouteRequest
from .classify import IDEMPOTENT, STATUSES

if TYPE_CHECKING:
    from ..mesh import Cluster
    from .family import Family

Road: TypeAlias = Callable[["Exchange", Endpoint, float], Any]
"""Sends the exchange's request to an endpoint, and ends by the deadline (monotonic seconds) by itself.

Returns the response with its body read and closed; for a streamed exchange, at the headers. When the headers come it
sets `exchange.heard`. What it raises is of the exchange's family, or a `DeadlineExceeded`; `error.sent = False` says
that not a byte has left. Awaited by the async engine, called by the sync one.
"""


KEY = "mesh_key"
"""The extension in which a caller gives a sticky split the user's key: `extensions={"mesh_key": user}`."""


class Exchange:
    """What a `Call` carries through the layers (`call.what`)."""

    __slots__ = (
        "attempts", "cluster", "curable", "deadline", "decision", "endpoint", "family", "heard", "plain",
        "release", "repeatable", "replayable", "request", "road", "route", "service", "start", "stream", "tried",
    )  # fmt: skip

    shadow = False  # a copy that is mirrored

    def __init__(
        self,
        request: Any,
        family: Family,
        road: Road,
        *,
        stream: bool,
        plain: bool,
        labels: Mapping[str, str],
        start: float,
    ) -> None:
        self.request = request
        self.family = family
        self.road = road
        self.stream = stream  # the body is handed out unread
        self.plain = plain  # but it is httpx that reads it: to the caller this is one call, body and all
        self.start = start
        self.deadline = inf  # the caller's own; it binds the body of a stream too
        self.replayable = _replayable(request, family)
        headers = request.headers
        self.repeatable = self.replayable and (request.method in IDEMPOTENT or "idempotency-key" in headers)
        url = request.url
        self.route = RouteRequest(
            url.netloc.decode("ascii").lower(),
            request.method,
            url.path,
            url.query.decode("ascii"),
            headers.get,
            labels,
            key=request.extensions.get(KEY),
            scheme=url.scheme,
        )
        self.service = ""
        self.decision: Any = None  # what routing said for the first attempt
        self.curable: Container[int] = STATUSES
        self.attempts = 0
        self.tried: list[Endpoint] = []
        self.cluster: Cluster | None = None  # of the newest attempt, like the rest
        self.endpoint: Endpoint | None = None
        self.heard = 0.0  # when the headers came
        self.release: Callable[[], object] | None = None  # what the road gives back when a streamed body is closed

    def note(self, error: BaseException) -> None:
        """Say on an error where it happened: `service`, `cluster`, `endpoint` and `attempt`, and the same in words."""
        cluster = self.cluster.name if self.cluster is not None else None
        endpoint = self.endpoint.address if self.endpoint is not None else None
        told = {"service": self.service, "cluster": cluster, "endpoint": endpoint, "attempt": self.attempts}
        try:
            error.__dict__.update(told)
            error.__dict__.setdefault("policy", None)  # the mesh's own errors know it
        except AttributeError:
            pass  # an exception with slots: then only in words
        note = ", ".join(f"{name} {value}" for name, value in told.items() if value)
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    def untouched(self) -> bool:
        """Whether the body is still whole, so that it may be sent although it cannot be read twice."""
        return self.replayable or not getattr(self.request.stream, "_is_stream_consumed", True)

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.url}>"


def _replayable(request: Any, family: Family) -> bool:
    """Can the body be read a second time? What is in memory can, and a form whose files can be rewound."""
    if hasattr(request, "_content") or isinstance(request.stream, family.lib.ByteStream):
        return True
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(_rewinds(getattr(field, "file", b"")) for field in fields)


def _rewinds(file: Any) -> bool:
    if isinstance(file, bytes | str):
        return True
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "seek") and (seekable is None or bool(seekable()))
