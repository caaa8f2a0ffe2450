"""Route table: finds the service of a host and applies its rules. Immutable and replaced whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Protocol

from .former import NONE
from .hosts import HostMap, folded, pattern
from .index import PathIndex
from .request import Random, RouteRequest, host_and_port
from .route import Decision, Matcher, Route, decisions
from .split import Chooser, Split
from .text_match import Text

NO_ROUTE = Route(name="(no rule matched)", to=Split("(none)"))


class ServiceRoutes:
    """A logical name with its rules. It is compiled when it is made, so a new table costs only what has changed.

    `hosts` are the names that callers use (the service's own name if none are given); `*.x`, `x.*` and `*` are
    wildcards. Rules are tried in order, and the first that matches wins; otherwise `default`. Without a default a
    request that no rule takes is refused.
    """

    __slots__ = ("default", "hosts", "name", "outside", "resolve", "routes")

    within = False  # see `Resolver`

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
        self.name: str = name
        self.hosts: tuple[str, ...] | tuple[str] = tuple(pattern(host) for host in hosts) or (pattern(name),)
        self.routes: tuple[Route, ...] = tuple(routes)
        self.default: Route | None = Route(name="(default)", to=default) if isinstance(default, Split) else default
        rules = self.routes if self.default is None else (*self.routes, self.default)
        self.outside: bool = bool(rules) and all(rule.outside for rule in rules)  # then its hosts are beyond the mesh
        self.resolve: Chooser[Decision] = self._compiled()

    def clusters(self) -> frozenset[str]:
        """The clusters that can be drawn at all, by any rule."""
        rules = self.routes if self.default is None else (*self.routes, self.default)
        splits = [rule.to for rule in rules if rule.to is not None]
        return frozenset(arm.cluster for split in splits for arm in split.destinations if arm.weight > 0)

    def _compiled(self) -> Chooser[Decision]:
        refusal = "no rule matches the request, and there is no default"
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
    """What decides about hosts that no service takes: a `ServiceRoutes` or a `DtabRouter`."""

    @property
    def resolve(self) -> Callable[[RouteRequest, Random], Decision]: ...

    @property
    def within(self) -> bool:
        """Whether it gives names to what is in the mesh (a dtab), or rules for what is beyond it."""


class RouteTable:
    """All services. `resolve` is one dictionary look-up, then that service's own compiled function.

    `unknown` decides about hosts that the mesh does not know: None lets them go straight out (`resolve` returns
    None), a string refuses them with that reason, a `ServiceRoutes` applies its rules, a `DtabRouter` its dtab. Hosts
    under `outside` (names and wildcards) go straight out before it is asked.

    Hosts that were services of an earlier table (`after`) do not go straight out, unless they are under `outside`, or
    a service of that very name or a rule for that host leads there.
    """

    __slots__ = ("_exact", "_former", "_hosts", "_outside", "_served", "outside", "services", "unknown")

    def __init__(
        self,
        services: Iterable[ServiceRoutes] = (),
        *,
        unknown: Resolver | str | None = None,
        outside: Iterable[str] = (),
    ) -> None:
        found: dict[str, ServiceRoutes] = {}
        hosts: dict[str, ServiceRoutes] = {}
        for service in services:
            if service.name in found:
                raise ValueError(f"services: {service.name!r} found twice, expected each name once")
            found[service.name] = service
            for host in service.hosts:
                if host in hosts:
                    other = hosts[host].name
                    raise ValueError(f"hosts: {host!r} found in {other!r} and {service.name!r}, expected it once")
                hosts[host] = service
        self.services: Mapping[str, ServiceRoutes] = MappingProxyType(found)
        self.unknown: Resolver | str | None = unknown
        self.outside: tuple[str, ...] = tuple(pattern(host) for host in outside)
        self._outside = HostMap(dict.fromkeys(self.outside, True))
        self._hosts = HostMap(hosts)
        self._exact = {host: service.resolve for host, service in hosts.items() if "*" not in host}
        self._served = {host: service.name for host, service in hosts.items() if not service.outside}
        self._former = NONE

    def resolve(self, request: RouteRequest, random: Random) -> Decision | None:
        """Decide about one request with at most one draw from `random`; None: the mesh does not know the host."""
        choose = self._exact.get(request.host)
        if choose is not None:
            return choose(request, random)
        service = self._hosts.find(request.host)
        if service is None:
            return self._beyond(request, random)
        decision = service.resolve(request, random)
        return self._kept_in(decision, request.host, service.hosts) if decision.route.outside else decision

    def _beyond(self, request: RouteRequest, random: Random) -> Decision | None:
        """Decide about a host that no service takes."""
        host, unknown = request.host, self.unknown
        if self.leads_outside(host):
            return None
        if unknown is not None and not isinstance(unknown, str):
            decision = unknown.resolve(request, random)
            return decision if unknown.within and decision.cluster is not None else self._kept_in(decision, host)
        reason = self.was_service(host)
        if reason is None and unknown is not None:
            reason = unknown
        return None if reason is None else _refused(host, reason)

    def _kept_in(self, decision: Decision, host: str, named: Collection[str] = ()) -> Decision:
        """The decision, or the refusal of a host that was a service and is not among those that may go out.

        It may if it is `named`, listed, or if the rule that decided names it.
        """
        reason = self.was_service(host)
        if reason is None or self.leads_outside(host) or _names_host(decision, host):
            return decision
        whole = folded(host)
        return decision if whole in named or host_and_port(whole)[0] in named else _refused(host, reason)

    def service(self, host: str) -> ServiceRoutes | None:
        """The service that takes this host. Egress rules for unknown hosts do not count."""
        return self._hosts.find(host)

    def leads_outside(self, host: str) -> bool:
        """Whether a host that no service takes is among those that go straight out."""
        return bool(self.outside) and self._outside.find(host) is not None

    def was_service(self, host: str) -> str | None:
        """Why a host is refused that an earlier table had a service for, and what to do about it; None if none had."""
        return None if self._former is NONE else self._former.reason(host)

    def after(self, before: RouteTable) -> RouteTable:
        """The same table as the successor of `before`: it remembers the hosts that were services until now."""
        if self is before:
            return self
        by_dtab = (before._former.by_dtab or _is_dtab(before.unknown)) and not _is_dtab(self.unknown)
        former = before._former.after(before._served, self._served, by_dtab=by_dtab)
        if former is self._former:
            return self
        table = copy(self)
        table._former = former
        return table

    def replacing(self, *services: ServiceRoutes) -> RouteTable:
        """The same table with these services changed or added."""
        changed = {**self.services, **{service.name: service for service in services}}
        return RouteTable(changed.values(), unknown=self.unknown, outside=self.outside).after(self)

    def __repr__(self) -> str:
        return f"RouteTable({len(self.services)} services)"


def _is_dtab(unknown: Resolver | str | None) -> bool:
    return unknown is not None and not isinstance(unknown, str) and unknown.within


def _refused(host: str, reason: str) -> Decision:
    return Decision(host_and_port(host)[0], None, route=NO_ROUTE, refused=reason)


def _names_host(decision: Decision, host: str) -> bool:
    """Whether the rule that took a request names its host, by itself or by a pattern."""
    named: Iterable[Text] = getattr(decision.matched, "hosts", ())
    return any(text.kind != "present" and not text.invert and text.test(host) for text in named)
