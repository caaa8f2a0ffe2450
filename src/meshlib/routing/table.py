"""Which service is this host, and what do its rules decide? The compiled table, immutable and replaced whole.

Hosts are found as Envoy finds them: the exact name, then the longest suffix wildcard (`*.example.com`), then the
longest prefix wildcard (`users.*`), then `*`. A name with a port is first looked up with it, then without.
Letter case and a trailing dot do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from .index import PathIndex
from .request import Random, RouteRequest, host_and_port
from .route import Decision, Matcher, Route, decisions
from .split import Chooser, Split

NO_ROUTE = Route(name="(no rule matched)", to=Split("(none)"))


class Service:
    """A logical name with its rules. It is compiled when it is made, so a new table costs only what has changed.

    `hosts` are the names that callers use (the service's own name if none are given); `*.x`, `x.*` and `*` are
    wildcards. Rules are tried in order, and the first that matches wins; otherwise `default`. Without a default a
    request that no rule takes is refused.
    """

    __slots__ = ("default", "hosts", "name", "resolve", "routes")

    def __init__(
        self,
        name: str,
        *,
        hosts: Iterable[str] = (),
        routes: Iterable[Route] = (),
        default: Split | Route | None = None,
    ) -> None:
        if not name:
            raise ValueError("name: '' found, expected the name of a service")
        self.name = name
        self.hosts = tuple(_folded(host) for host in hosts) or (_folded(name),)
        for host in self.hosts:
            if "*" in host[1:-1] or (host.startswith("*") and host.endswith("*") and host != "*") or not host:
                raise ValueError(f"hosts: {host!r} found, expected a name with at most one * at its begin or end")
        self.routes = tuple(routes)
        self.default = Route(name="(default)", to=default) if isinstance(default, Split) else default
        self.resolve: Chooser[Decision] = self._compiled()

    def clusters(self) -> frozenset[str]:
        """The clusters that can be drawn at all, by whatever rule."""
        rules = self.routes if self.default is None else (*self.routes, self.default)
        splits = [rule.to for rule in rules if rule.to is not None]
        return frozenset(arm.cluster for split in splits for arm in split.destinations if arm.weight > 0)

    def _compiled(self) -> Chooser[Decision]:
        refusal = f"{self.name}: no rule matches the request, and there is no default"
        last: Chooser[Decision]
        if self.default is not None:
            last = decisions(self.name, self.default, -1, None)
        else:
            refused = Decision(self.name, None, route=NO_ROUTE, refused=refusal)
            last = lambda request, random: refused  # noqa: E731
        if not self.routes:
            return last
        alternatives: list[tuple[Matcher | None, Chooser[Decision]]] = []
        for rule, route in enumerate(self.routes):
            found = route.match or (None,)
            alternatives += [(matched, decisions(self.name, route, rule, matched)) for matched in found]

        find = PathIndex([*alternatives, (None, last)]).find

        def resolve(request: RouteRequest, random: Random) -> Decision:
            for test, choose in find(request.path):
                if test is None or test(request):
                    return choose(request, random)
            return last(request, random)

        return resolve

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {len(self.routes)} rules)"


class Resolver(Protocol):
    """What decides about hosts that no service takes: a `Service` or a `DtabRouter`."""

    @property
    def resolve(self) -> Callable[[RouteRequest, Random], Decision]: ...


class RouteTable:
    """All services. `resolve` is one dictionary look-up, then that service's own compiled function.

    `unknown` decides about hosts that the mesh does not know: None lets them go straight out (`resolve` answers
    None), a string refuses them with that reason, a `Service` applies its rules, a `DtabRouter` its dtab.
    """

    __slots__ = ("_any_host", "_exact", "_prefixes", "_suffixes", "services", "unknown")

    def __init__(self, services: Iterable[Service] = (), *, unknown: Resolver | str | None = None) -> None:
        found: dict[str, Service] = {}
        exact: dict[str, Chooser[Decision]] = {}
        prefixes: dict[str, Chooser[Decision]] = {}
        suffixes: dict[str, Chooser[Decision]] = {}
        owner: dict[str, str] = {}
        for service in services:
            if service.name in found:
                raise ValueError(f"services: {service.name!r} found twice, expected each name once")
            found[service.name] = service
            for host in service.hosts:
                if host in owner:
                    raise ValueError(f"hosts: {host!r} found in {owner[host]!r} and {service.name!r}, expected it once")
                owner[host] = service.name
                if host.startswith("*"):
                    suffixes[host[1:]] = service.resolve
                elif host.endswith("*"):
                    prefixes[host[:-1]] = service.resolve
                else:
                    exact[host] = service.resolve
        self.services: Mapping[str, Service] = MappingProxyType(found)
        self.unknown = unknown
        self._exact = exact
        self._any_host = suffixes.pop("", None)
        self._suffixes = _by_length(suffixes)
        self._prefixes = _by_length(prefixes)

    def resolve(self, request: RouteRequest, random: Random) -> Decision | None:
        """Decide about one request with at most one draw from `random`; None: the mesh does not know the host."""
        choose = self._exact.get(request.host)
        if choose is not None:
            return choose(request, random)
        service = self._find(_folded(request.host))
        return None if service is None else service(request, random)

    def service(self, host: str) -> Service | None:
        """The service that takes this host. Egress rules for unknown hosts do not count."""
        choose = self._service(_folded(host))
        return next((service for service in self.services.values() if service.resolve is choose), None)

    def _service(self, host: str) -> Chooser[Decision] | None:
        return self._exact.get(host) or self._lookup(host_and_port(host)[0])

    def _find(self, host: str) -> Chooser[Decision] | None:
        choose = self._service(host)
        if choose is not None:
            return choose
        if self.unknown is None:
            return None
        if not isinstance(self.unknown, str):
            return self.unknown.resolve
        bare = host_and_port(host)[0]
        refused = Decision(bare, None, route=NO_ROUTE, refused=f"{bare}: {self.unknown}")
        return lambda request, random: refused

    def _lookup(self, host: str) -> Chooser[Decision] | None:
        choose = self._exact.get(host)
        if choose is not None:
            return choose
        for length, endings in self._suffixes:
            # A wildcard stands for at least one character, except that `*` alone takes everything.
            choose = endings.get(host[-length:]) if length < len(host) else None
            if choose is not None:
                return choose
        for length, beginnings in self._prefixes:
            choose = beginnings.get(host[:length]) if length < len(host) else None
            if choose is not None:
                return choose
        return self._any_host

    def replacing(self, *services: Service) -> RouteTable:
        """The same table with these services changed or added."""
        return RouteTable(
            {**self.services, **{service.name: service for service in services}}.values(), unknown=self.unknown
        )

    def __repr__(self) -> str:
        return f"RouteTable({len(self.services)} services)"


def _folded(host: str) -> str:
    return host.lower().rstrip(".")


def _by_length(table: dict[str, Chooser[Decision]]) -> list[tuple[int, dict[str, Chooser[Decision]]]]:
    lengths = sorted({len(text) for text in table}, reverse=True)
    return [(length, {text: choose for text, choose in table.items() if len(text) == length}) for length in lengths]
