"""Rule actions: header edits, rewrites, redirects, responses, mirrors and faults.

All of it is data with pure functions; the one who sends carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from .request import Random, RouteRequest, host_and_port

if TYPE_CHECKING:
    from .regex import Regex


class PathRewriter(Protocol):
    """What a rewrite asks of the matcher that held: the path with the matched part replaced."""

    def rewritten(self, path: str, replacement: str) -> str: ...


class HeaderEdit:
    """Header changes: `remove`, then `set` (replacing all of that name), then `add`. Names are case-insensitive."""

    __slots__ = ("add", "remove", "set")

    def __init__(
        self, *, set: Mapping[str, str] | None = None, add: Mapping[str, str] | None = None, remove: Iterable[str] = ()
    ) -> None:
        self.set: tuple[tuple[str, str], ...] = tuple((set or {}).items())
        self.add: tuple[tuple[str, str], ...] = tuple((add or {}).items())
        self.remove: frozenset[str] = frozenset(name.lower() for name in remove)

    def applied(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The headers as they are after the edit, in their order."""
        gone = self.remove.union(name.lower() for name, _ in self.set)
        return [pair for pair in headers if pair[0].lower() not in gone] + [*self.set, *self.add]


class Rewrite:
    """A new `host`, and a new path: `path` replaces all of it, `prefix` only what the rule matched.

    `prefix` goes by the matched rule: of a path prefix that prefix is replaced, of an exact path everything; of a
    template or regular expression everything, and `{name}` in `path` or `prefix` stands for what it captured.
    With `regex`, every part of the path that matches becomes `path`, whatever the rule matched. The query stays.
    """

    __slots__ = ("host", "path", "prefix", "regex")

    def __init__(
        self,
        *,
        host: str | None = None,
        path: str | None = None,
        prefix: str | None = None,
        regex: str | None = None,
    ) -> None:
        if regex is not None and path is None:
            raise ValueError("path: nothing found, expected what the parts that match regex become")
        if path is not None and prefix is not None:
            raise ValueError("prefix: given together with path, expected one of them")
        if host is None and path is None and prefix is None:
            raise ValueError("host: nothing found, expected one of host, path and prefix")
        if (
            path is not None and regex is None and not path.startswith(("/", "{", "\\"))
        ):  # a captured part may bring the slash
            raise ValueError(f"path: {path!r} found, expected a path that begins with /")
        self.host: str | None = host
        self.path: str | None = path
        self.prefix: str | None = prefix
        self.regex: Regex | None = None if regex is None else _regex(regex)

    def rewritten(self, path: str, matched: object) -> str:
        """The new path for `path`, where `matched` is `Decision.matched`."""
        if self.regex is not None:
            return self.regex.substitute(path, self.path or "") or "/"
        rewriter: PathRewriter | None = getattr(matched, "path", None)
        if self.path is not None:
            fill = getattr(rewriter, "filled", None)
            return self.path if fill is None else str(fill(path, self.path))
        if self.prefix is not None:
            return self.prefix or "/" if rewriter is None else rewriter.rewritten(path, self.prefix)
        return path


class Redirect:
    """Answer with a redirect to the same URL with `scheme`, `host`, `port` and path changed as given."""

    __slots__ = ("host", "port", "rewrite", "scheme", "status", "strip_query")

    def __init__(
        self,
        *,
        status: int = 302,
        scheme: str | None = None,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        prefix: str | None = None,
        strip_query: bool = False,
    ) -> None:
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"status: {status!r} found, expected 301, 302, 303, 307 or 308")
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"port: {port!r} found, expected 1 to 65535")
        self.status = status
        self.scheme: str | None = scheme
        self.host: str | None = host
        self.port: int | None = port
        self.rewrite: Rewrite | None = (
            Rewrite(path=path, prefix=prefix) if path is not None or prefix is not None else None
        )
        self.strip_query: bool = strip_query

    def location(self, request: RouteRequest, matched: object) -> str:
        """The Location header. The port is kept, unless host, scheme or port says otherwise, or it is the default."""
        scheme = self.scheme or request.scheme
        host, port = host_and_port(request.host)
        if self.port is not None:
            port = str(self.port)
        elif self.host is not None or self.scheme is not None:
            port = ""
        default = {"http": "80", "https": "443"}.get(scheme, "")
        path = request.path if self.rewrite is None else self.rewrite.rewritten(request.path, matched)
        query = f"?{request.query}" if request.query and not self.strip_query else ""
        return f"{scheme}://{self.host or host}{f':{port}' if port not in ('', default) else ''}{path}{query}"


class DirectResponse:
    """Answer here and now, without any endpoint."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status: {status!r} found, expected 200 to 599")
        self.status: int = status
        self.body: bytes = body
        self.headers: dict[str, str] = dict(headers or {})


class Mirror:
    """Send a copy of `ratio` (0 to 1) of the requests to `cluster` too, without waiting for its answer."""

    __slots__ = ("cluster", "ratio")

    def __init__(self, cluster: str, *, ratio: float = 1.0) -> None:
        self.cluster: str = cluster
        self.ratio: float = _ratio("ratio", ratio)

    def wanted(self, random: Random) -> bool:
        return self.ratio >= 1.0 or random() < self.ratio


class Injected:
    """The fault that one request gets: wait `delay` seconds first, then answer with `status` (HTTP or gRPC), if any."""

    __slots__ = ("delay", "grpc_status", "status")

    def __init__(self, delay: float, status: int | None, grpc_status: int | None) -> None:
        self.delay: float = delay
        self.status: int | None = status
        self.grpc_status: int | None = grpc_status


class Fault:
    """Chaos on purpose: `delay` seconds for `delay_ratio` of the requests, `abort_…` for `abort_ratio` of them.

    The two are drawn independently, as Envoy does. With `delay_header` (milliseconds) and `abort_header` (an HTTP
    status) a request may ask for its own fault; the ratio applies to those too. A value that is no number is ignored.
    """

    __slots__ = ("abort_grpc", "abort_header", "abort_ratio", "abort_status", "delay", "delay_header", "delay_ratio")

    def __init__(
        self,
        *,
        delay: float | None = None,
        delay_ratio: float = 1.0,
        delay_header: str | None = None,
        abort_status: int | None = None,
        abort_grpc: int | None = None,
        abort_ratio: float = 1.0,
        abort_header: str | None = None,
    ) -> None:
        if delay is not None and not (isfinite(delay) and delay > 0):
            raise ValueError(f"delay: {delay!r} found, expected seconds above 0")
        if abort_status is not None and not 200 <= abort_status <= 599:
            raise ValueError(f"abort_status: {abort_status!r} found, expected 200 to 599")
        if abort_grpc is not None and not 0 <= abort_grpc <= 16:
            raise ValueError(f"abort_grpc: {abort_grpc!r} found, expected 0 to 16")
        if abort_status is not None and abort_grpc is not None:
            raise ValueError("abort_grpc: given together with abort_status, expected one of them")
        if (delay or delay_header or abort_status or abort_header) is None and abort_grpc is None:
            raise ValueError("delay: nothing found, expected a delay or an abort")
        self.delay: float | None = delay
        self.delay_ratio: float = _ratio("delay_ratio", delay_ratio)
        self.delay_header: str | None = delay_header and delay_header.lower()
        self.abort_status: int | None = abort_status
        self.abort_grpc: int | None = abort_grpc
        self.abort_ratio: float = _ratio("abort_ratio", abort_ratio)
        self.abort_header: str | None = abort_header and abort_header.lower()

    def draw(self, request: RouteRequest, random: Random) -> Injected | None:
        """What this request gets; None: nothing. One draw for the delay and one for the abort, where there is one."""
        delay, status, grpc = self.delay, self.abort_status, self.abort_grpc
        if self.delay_header is not None:
            asked = _number(request.header(self.delay_header))
            delay = delay if asked is None else asked / 1000
        if self.abort_header is not None:
            asked = _number(request.header(self.abort_header))
            if asked is not None and 200 <= asked <= 599:
                status, grpc = asked, None
        if delay is not None and not (self.delay_ratio >= 1.0 or random() < self.delay_ratio):
            delay = None
        if (status is not None or grpc is not None) and not (self.abort_ratio >= 1.0 or random() < self.abort_ratio):
            status = grpc = None
        if delay is None and status is None and grpc is None:
            return None
        return Injected(delay or 0.0, status, grpc)


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) < 10 and text.isascii() and text.isdigit() else None


def _ratio(field: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{field}: {value!r} found, expected a ratio from 0 to 1")
    return value


def _regex(pattern: str) -> Regex:
    from . import regex  # few rules have one, and reading patterns is a lot of code to load

    return regex.Regex(pattern)
