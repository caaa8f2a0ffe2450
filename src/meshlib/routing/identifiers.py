"""Identifiers: make a request's name, such as `/svc/users`, from its host, header, method or path, as Linkerd does.

An identifier answers with `Identified`, or with a sentence that says what is missing; then the next one is asked.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import ConfigError
from .dtab_reader import read_path
from .path import EMPTY_PATH, Path
from .request import RouteRequest

SVC = Path("svc")


class Identified:
    """The name of a request, and how many segments of the URL's path the identifier used up."""

    __slots__ = ("consumed", "name")

    def __init__(self, name: Path, consumed: int = 0) -> None:
        self.name: Path = name
        self.consumed: int = consumed

    def url_path(self, path: str) -> str:
        """What is left of the URL's path."""
        return "/" + "".join(path[1:].split("/", self.consumed)[self.consumed :]) if self.consumed else path


class Identifier(Protocol):
    def identify(self, request: RouteRequest) -> Identified | str: ...


class HeaderTokenIdentifier:
    """`io.l5d.header.token`: one header as one element, `/svc/<Host>` by default."""

    __slots__ = ("header", "prefix")

    def __init__(self, *, prefix: Path = SVC, header: str = "host") -> None:
        self.prefix: Path = prefix
        self.header: str = header.lower()

    def identify(self, request: RouteRequest) -> Identified | str:
        value = _header(request, self.header)
        return Identified(self.prefix + Path(value)) if value else f"{self.header} header is absent"


class HeaderIdentifier:
    """`io.l5d.header`: a header that holds a path, `l5d-name` by default."""

    __slots__ = ("header", "prefix")

    def __init__(self, *, prefix: Path = SVC, header: str = "l5d-name") -> None:
        self.prefix: Path = prefix
        self.header: str = header.lower()

    def identify(self, request: RouteRequest) -> Identified | str:
        value = _header(request, self.header)
        if not value:
            return f"{self.header} header is absent"
        try:
            return Identified(self.prefix + read_path(value))
        except ConfigError as error:
            return f"{self.header} header: {error}"


class MethodAndHostIdentifier:
    """`io.l5d.methodAndHost`: `/svc/1.1/GET/<host>`, with `uris` also the URL's path; HTTP/1.0 has no host."""

    __slots__ = ("prefix", "uris")

    def __init__(self, *, prefix: Path = SVC, uris: bool = False) -> None:
        self.prefix: Path = prefix
        self.uris: bool = uris

    def identify(self, request: RouteRequest) -> Identified | str:
        host = _header(request, "host")
        if request.version == "1.0":
            name = self.prefix + Path("1.0", request.method)
        elif request.version != "1.1":
            return f"unknown HTTP version {request.version}"
        elif not host:
            return "HTTP/1.1 request missing hostname"
        else:
            name = self.prefix + Path("1.1", request.method, host.lower())
        try:
            return Identified(name + read_path(request.path) if self.uris else name)
        except ConfigError as error:
            return f"the URL's path cannot be part of a name: {error}"


class PathIdentifier:
    """`io.l5d.path`: the first `segments` of the URL's path, `/svc/a/b`; `consume` takes them away from the request."""

    __slots__ = ("consume", "prefix", "segments")

    def __init__(self, *, prefix: Path = SVC, segments: int = 1, consume: bool = False) -> None:
        if segments < 1:
            raise ValueError(f"segments: {segments!r} found, expected at least 1")
        self.prefix: Path = prefix
        self.segments: int = segments
        self.consume: bool = consume

    def identify(self, request: RouteRequest) -> Identified | str:
        taken = request.path[1:].split("/", self.segments)[: self.segments]
        if len(taken) < self.segments or not all(taken):
            return "not enough segments in path"
        return Identified(self.prefix + Path(*taken), self.segments if self.consume else 0)


class StaticIdentifier:
    """`io.l5d.static`: the same name for every request."""

    __slots__ = ("_identified",)

    def __init__(self, path: Path, *, prefix: Path = EMPTY_PATH) -> None:
        self._identified = Identified(prefix + path)

    def identify(self, request: RouteRequest) -> Identified | str:
        return self._identified


def _header(request: RouteRequest, name: str) -> str | None:
    """A header; the host is known even before there are headers."""
    return request.header(name) or (request.host if name == "host" else None)
