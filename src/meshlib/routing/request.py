"""Route request: what routing reads of a request, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl

Random: TypeAlias = Callable[[], float]
HeaderLookup: TypeAlias = Callable[[str], "str | None"]

_NO_LABELS: Mapping[str, str] = {}


def _no_header(name: str) -> str | None:
    return None


class RouteRequest:
    """A request, as far as a routing rule can see it.

    `host` is the name that the caller used, with or without `:port`; `path` begins with `/` and has no query;
    `query` is what stands after the `?`, still encoded. `header` answers for a lower-case name (a value that came
    in several lines is joined by commas), or None. `labels` are the caller's own (`app`, `version`, `env` …), `key`
    is whatever identifies the user to a sticky split, and `version` is that of HTTP. Query and cookies are parsed when
    a rule first asks.
    """

    __slots__ = (
        "_cookies",
        "_query",
        "header",
        "host",
        "key",
        "labels",
        "method",
        "path",
        "query",
        "scheme",
        "version",
    )

    def __init__(
        self,
        host: str,
        method: str = "GET",
        path: str = "/",
        query: str = "",
        header: HeaderLookup = _no_header,
        labels: Mapping[str, str] = _NO_LABELS,
        key: str | None = None,
        scheme: str = "http",
        version: str = "1.1",
    ) -> None:
        self.host: str = host
        self.method: str = method
        self.path: str = path
        self.query: str = query
        self.header: HeaderLookup = header
        self.labels: Mapping[str, str] = labels
        self.key: str | None = key
        self.scheme: str = scheme
        self.version: str = version
        self._query: dict[str, str] | None = None
        self._cookies: dict[str, str] | None = None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter, decoded; None if it is absent."""
        parsed = self._query
        if parsed is None:
            parsed = self._query = {}
            for key, value in parse_qsl(self.query, keep_blank_values=True) if self.query else ():
                parsed.setdefault(key, value)
        return parsed.get(name)

    def cookie(self, name: str) -> str | None:
        """The first cookie of this name, without the quotes that may surround its value; None if it is absent."""
        parsed = self._cookies
        if parsed is None:
            parsed = self._cookies = {}
            for pair in (self.header("cookie") or "").split(";"):
                key, found, value = pair.partition("=")
                if found:
                    value = value.strip()
                    quoted = len(value) > 1 and value[0] == value[-1] == '"'
                    parsed.setdefault(key.strip(), value[1:-1] if quoted else value)
        return parsed.get(name)

    def port(self) -> str:
        """The port in the host, or else the scheme's own."""
        return host_and_port(self.host)[1] or ("443" if self.scheme == "https" else "80")

    def __repr__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"RouteRequest({self.method} {self.scheme}://{self.host}{self.path}{query})"


def host_and_port(host: str) -> tuple[str, str]:
    """`users:80` and `[::1]:80` taken apart; the port is empty if there is none."""
    name, colon, port = host.rpartition(":")
    found = colon and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]"))
    return (name, port) if found else (host, "")
