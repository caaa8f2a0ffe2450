"""One logical HTTP request on its way through the mesh: what the caller asked, and where it has been."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from ...balancing import Endpoint
from ...call import Call, Verdict
from ...errors import MeshError
from ...routing.request import RouteRequest
from .classify import IDEMPOTENT, STATUSES

if TYPE_CHECKING:
    from ...mesh import Cluster, Snapshot
    from ..family import Family

Road: TypeAlias = Callable[["Attempt"], Any]
"""Sends the request of an attempt to its endpoint, and ends by its deadline (monotonic seconds) by itself.

Returns the response with its body read and closed; for a streamed exchange, at the headers. When the headers come it
sets `attempt.heard`. What it raises is of the exchange's family, or a `DeadlineExceeded`; `error.sent = False` says
that not a byte has left. Awaited by the async engine, called by the sync one.
"""


KEY = "mesh_key"
"""The extension in which a caller gives a sticky split the user's key: `extensions={"mesh_key": user}`."""


class Exchange:
    """What a `Call` carries through the layers (`call.what`): all that its attempts have in common."""

    __slots__ = (
        "attempts",
        "curable",
        "cut",
        "deadline",
        "decision",
        "family",
        "newest",
        "plain",
        "repeatable",
        "replayable",
        "request",
        "road",
        "route",
        "service",
        "snapshot",
        "start",
        "stream",
        "tried",
    )  # fmt: skip

    shadow = False  # a copy that is mirrored
    snapshot: Snapshot
    """The one that the first decision is of; a cluster of another must not be asked with it. Set by `Engine.decide`."""

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
        cut: Callable[[Exchange], MeshError | None] | None = None,
    ) -> None:
        # What it ends with, if its client was closed.
        self.cut: Callable[[Exchange], MeshError | None] | None = cut
        self.request: Any = request
        self.family: Family = family
        self.road: Road = road
        self.stream: bool = stream  # the body is handed out unread
        self.plain: bool = plain  # but it is httpx that reads it: to the caller this is one call, body and all
        self.start: float = start
        self.deadline: float = inf  # the caller's own; it binds the body of a stream too
        self.replayable: bool = _replayable(request, family)
        headers = request.headers
        self.repeatable: bool = self.replayable and (request.method in IDEMPOTENT or "idempotency-key" in headers)
        url = request.url
        self.route: RouteRequest = RouteRequest(
            url.netloc.decode("ascii").lower(),
            request.method,
            url.path,
            url.query.decode("ascii"),
            headers.get,
            labels,
            key=request.extensions.get(KEY),
            scheme=url.scheme,
        )
        self.service: str = ""
        self.decision: Any = None  # what routing said for the first attempt
        self.curable: Container[int] = STATUSES
        self.attempts: int = 0
        self.tried: list[Endpoint] = []
        self.newest: Attempt | None = None  # the attempt begun last; others may still be out

    def note(self, error: BaseException) -> None:
        """Say in words where an error happened, which its attempt has written on it; if none has, the newest."""
        told = getattr(error, "__dict__", {})
        if "endpoint" not in told or told.get("attempt") is None:
            told = self._where()
            _write(error, told)
        note = ", ".join(f"{name} {told[name]}" for name in ("service", "cluster", "endpoint", "attempt") if told[name])
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    def _where(self) -> dict[str, Any]:
        if self.newest is not None:
            return self.newest.where()
        return {"service": self.service, "cluster": None, "endpoint": None, "attempt": self.attempts}

    def untouched(self) -> bool:
        """Whether the body is still whole, so that it may be sent although it cannot be read twice."""
        return self.replayable or not getattr(self.request.stream, "_is_stream_consumed", True)

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.url}>"


class Attempt(Call):
    """One attempt at an exchange, from the choice of its cluster on. A hedge has two of them out at once."""

    __slots__ = ("cluster", "decision", "endpoint", "heard", "permit", "releases", "start")

    def __init__(self, call: Call, decision: Any, cluster: Cluster) -> None:
        exchange: Exchange = call.what
        self.what = exchange
        self.deadline: float = call.deadline
        self.attempt: int = exchange.attempts
        self.replayable: bool = call.replayable
        self.later: list[Callable[[Verdict], None]] | None = [] if exchange.stream else None
        self.decision: Any = decision
        self.cluster: Cluster = cluster
        self.endpoint: Endpoint | None = None  # until the balancer has picked one
        self.permit: int = 0  # with which to leave it
        self.start: float = 0.0
        self.heard: float = 0.0  # when the headers came
        self.releases: tuple[
            Callable[[], object], ...
        ] = ()  # what gives connections back when a streamed body is closed

    def give_back(self, verdict: Verdict) -> None:
        """Give back what the attempt was sent with."""
        for release in self.releases:
            release()

    def where(self) -> dict[str, Any]:
        endpoint = self.endpoint.address if self.endpoint is not None else None
        cluster = self.cluster.name if endpoint is not None else None
        return {"service": self.what.service, "cluster": cluster, "endpoint": endpoint, "attempt": self.attempt}

    def mark(self, error: BaseException) -> None:
        """Write on an error where it happened: `service`, `cluster`, `endpoint` and `attempt`."""
        _write(error, self.where())


def _write(error: BaseException, where: dict[str, Any]) -> None:
    try:
        error.__dict__.update(where)
        error.__dict__.setdefault("policy", None)  # the mesh's own errors know it
    except AttributeError:
        pass  # an exception with slots: then it is said in words only


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
