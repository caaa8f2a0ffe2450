"""Route and decision: a rule as people write it, and its outcome as the engine reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from .request import RouteRequest
from .split import Chooser, Destination, Split

if TYPE_CHECKING:
    from .actions import DirectResponse, Fault, HeaderEdit, Mirror, Redirect, Rewrite
    from .namer import Bound


class Matcher(Protocol):
    """One alternative of a rule's condition. `routing.match.Match` is ours."""

    def matches(self, request: RouteRequest) -> bool: ...


class Route:
    """One rule: if any of `match` holds (none given: always), do this and look no further.

    Exactly one of `to` (a split), `redirect`, `direct` and `outside` (straight out, past the mesh) says where the
    request goes. `timeout` is the total time in seconds (None: the service's own), `retry` and `policies` are names or
    objects that routing only hands on.
    `response_headers` is to be applied to the answer, the other edits to the request.
    """

    __slots__ = (
        "direct",
        "fault",
        "headers",
        "match",
        "mirrors",
        "name",
        "outside",
        "policies",
        "redirect",
        "response_headers",
        "retry",
        "rewrite",
        "timeout",
        "to",
    )

    def __init__(
        self,
        *,
        name: str = "",
        match: Iterable[Matcher] | Matcher = (),
        to: Split | None = None,
        redirect: Redirect | None = None,
        direct: DirectResponse | None = None,
        outside: bool = False,
        rewrite: Rewrite | None = None,
        headers: HeaderEdit | None = None,
        response_headers: HeaderEdit | None = None,
        mirrors: Iterable[Mirror] = (),
        fault: Fault | None = None,
        timeout: float | None = None,
        retry: Any = None,
        policies: Any = None,
    ) -> None:
        given = [
            field
            for field, value in (("to", to), ("redirect", redirect), ("direct", direct), ("outside", outside or None))
            if value is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"to: {' and '.join(given) or 'nothing'} found, expected one of to, redirect, direct and outside"
            )
        if timeout is not None and not (isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout: {timeout!r} found, expected seconds above 0")
        self.name: str = name
        self.match: tuple[Matcher, ...] = tuple(match) if isinstance(match, Iterable) else (match,)
        self.to: Split | None = to
        self.redirect: Redirect | None = redirect
        self.direct: DirectResponse | None = direct
        self.outside: bool = outside
        self.rewrite: Rewrite | None = rewrite
        self.headers: HeaderEdit | None = headers
        self.response_headers: HeaderEdit | None = response_headers
        self.mirrors: tuple[Mirror, ...] = tuple(mirrors)
        self.fault: Fault | None = fault
        self.timeout: float | None = timeout
        self.retry: Any = retry
        self.policies: Any = policies

    def __repr__(self) -> str:
        return f"Route({self.name!r})"


class Decision:
    """Where one request goes. Made when the table is compiled, shared by all requests, never changed.

    `cluster` is None if the answer is a redirect or a direct response, or if the request is refused (`refused` says
    why, for the error message). `rule` is the rule's place in its service, from 0, and -1 for the service's default;
    `route` is the rule itself. `plain` is True if there is nothing to do but to send: no rewrite, header edit,
    mirror, fault, or policies of its own. `matched` is the alternative of the rule that held, for rewrites of the
    matched prefix; `bound` is the name that a dtab led to, if it was one that decided.
    """

    __slots__ = ("bound", "cluster", "destination", "matched", "plain", "refused", "route", "rule", "service")

    def __init__(
        self,
        service: str,
        cluster: str | None,
        *,
        route: Route,
        rule: int = -1,
        destination: Destination | None = None,
        matched: Matcher | None = None,
        refused: str | None = None,
        bound: Bound | None = None,
    ) -> None:
        self.bound: Bound | None = bound
        self.service: str = service
        self.cluster: str | None = cluster
        self.route: Route = route
        self.rule: int = rule
        self.destination: Destination | None = destination
        self.matched: Matcher | None = matched
        self.refused: str | None = refused
        edits = route.headers or route.response_headers
        if destination is not None:
            edits = edits or destination.headers or destination.response_headers
        acts = edits or route.rewrite or route.mirrors or route.fault or route.timeout or route.policies
        self.plain: bool = cluster is not None and not acts

    def __repr__(self) -> str:
        where = self.cluster or self.refused or "answered here"
        return f"Decision({self.service!r} -> {where!r}, rule {self.rule} {self.route.name!r})"


def decisions(service: str, route: Route, rule: int, matched: Matcher | None) -> Chooser[Decision]:
    """The compiled right-hand side of a rule: a function that draws one of its ready-made decisions."""
    if route.to is None:
        only = Decision(service, None, route=route, rule=rule, matched=matched)
        return lambda request, random: only
    outcomes: Sequence[Decision] = [
        Decision(service, arm.cluster, route=route, rule=rule, destination=arm, matched=matched)
        for arm in route.to.destinations
    ]
    return route.to.chooser(outcomes)
