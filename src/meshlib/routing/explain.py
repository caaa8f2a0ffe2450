"""Route explanation: every step of one decision in words, made from the decision itself.

The table decides first, with a recorder between it and the dice; the explanation then reads the same rules. It never
decides anything of its own, so it cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .actions import Rewrite
from .binding import shares
from .delegation import delegate
from .dtab_router import DtabRouter
from .match import Match
from .namer import Pending
from .request import Random, RouteRequest
from .route import Decision, Route
from .split import SLOTS, Split
from .table import RouteTable, ServiceRoutes


class Step:
    """One thing that was decided: a title, and the reasons under it."""

    __slots__ = ("reasons", "title")

    def __init__(self, title: str, *reasons: str) -> None:
        self.title: str = title
        self.reasons: list[str] = list(reasons)


class Explanation:
    """The steps of one decision, and the decision (None: the mesh does not know the host and lets it go)."""

    __slots__ = ("decision", "draws", "steps")

    def __init__(self, decision: Decision | None, steps: list[Step], draws: list[float]) -> None:
        self.decision: Decision | None = decision
        self.steps: list[Step] = steps
        self.draws: list[float] = draws

    def lines(self) -> Iterator[str]:
        """The explanation as indented text."""
        for step in self.steps:
            yield step.title
            yield from (f"  {reason}" for reason in step.reasons)

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain data."""
        decision = self.decision
        return {
            "service": decision and decision.service,
            "cluster": decision and decision.cluster,
            "rule": decision and decision.route.name,
            "refused": decision and decision.refused,
            "draws": self.draws,
            "steps": [{"title": step.title, "reasons": step.reasons} for step in self.steps],
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())


def explain(table: RouteTable, request: RouteRequest, random: Random) -> Explanation:
    """Decide about a request, and say why."""
    draws: list[float] = []

    def recorded() -> float:
        draws.append(random())
        return draws[-1]

    decision = table.resolve(request, recorded)
    service = table.service(request.host)
    steps: list[Step] = []
    if decision is not None and decision.refused is not None and decision.refused == table.was_service(request.host):
        service = None
        steps.append(Step(f"host {request.host!r} would go straight out, as one that the mesh does not know"))
    elif service is not None:
        pattern = "" if service.hosts == (service.name,) else f" (its hosts: {', '.join(service.hosts)})"
        steps.append(Step(f"host {request.host!r} is service {service.name!r}{pattern}"))
    elif table.leads_outside(request.host):
        steps.append(Step(f"no service has the host {request.host!r}: egress lists it, so it goes straight out"))
    elif table.unknown is None or isinstance(table.unknown, str):
        fate = "it goes straight out" if table.unknown is None else f"refused: {table.unknown}"
        steps.append(Step(f"no service has the host {request.host!r}: {fate}"))
    elif isinstance(table.unknown, DtabRouter):
        steps.append(Step(f"no service has the host {request.host!r}: the dtab decides"))
        steps += _by_dtab(table.unknown, request, draws)
    elif isinstance(table.unknown, ServiceRoutes):
        service = table.unknown
        steps.append(Step(f"no service has the host {request.host!r}: the rules of {service.name!r} for unknown hosts"))
    if decision is not None and service is not None:
        steps += _by_rules(service, decision, request, draws)
    if decision is not None:
        steps += _actions(decision, request)
        steps.append(Step(_outcome(decision)))
    return Explanation(decision, steps, draws)


def _by_rules(service: ServiceRoutes, decision: Decision, request: RouteRequest, draws: list[float]) -> Iterator[Step]:
    tried = service.routes if decision.rule < 0 else service.routes[: decision.rule + 1]
    for number, route in enumerate(tried):
        named = f"rule {number + 1}{f' {route.name!r}' if route.name else ''}"
        if number == decision.rule:
            held = "" if decision.matched is None else f": {decision.matched!r}"
            yield Step(f"{named} matches{held}")
        else:
            yield Step(f"{named} does not match", *_why_not(route, request))
    if decision.rule < 0:
        yield Step("no rule matches: the default" if service.routes else "no rules: the default")
    if decision.route.to is not None and decision.refused is None:
        yield from _by_split(decision.route.to, decision.cluster, request, draws)


def _why_not(route: Route, request: RouteRequest) -> Iterator[str]:
    for alternative in route.match:
        reason = alternative.why_not(request) if isinstance(alternative, Match) else None
        yield reason or f"{alternative!r} does not hold"


def _by_split(split: Split, chosen: str | None, request: RouteRequest, draws: list[float]) -> Iterator[Step]:
    total = sum(arm.weight for arm in split.destinations)
    if len(split.destinations) == 1:
        return
    arms = [f"{arm.cluster}: {arm.weight:g} of {total:g}" for arm in split.destinations]
    yield Step(f"split: {chosen} {_chosen_by(split, request, draws)}", *arms)


def _chosen_by(split: Split, request: RouteRequest, draws: list[float]) -> str:
    sticky = split.sticky
    key = None if sticky is None else sticky.hash(request)
    if key is None or sticky is None:
        missing = "" if sticky is None else f" ({' and '.join(map(repr, sticky.by))} absent)"
        return f"by the draw {draws[-1]:.6f}{missing}" if draws else f"without a draw{missing}"
    modulus = SLOTS if sticky.method == "stable" else int(sum(arm.weight for arm in split.destinations))
    keys = " and ".join([f"{part!r} {part.value(request)!r}" for part in sticky.by])
    return f"by the hash of {keys}: {key % modulus} of {modulus} ({sticky.method})"


def _by_dtab(router: DtabRouter, request: RouteRequest, draws: list[float]) -> Iterator[Step]:
    identified = router.identify(request)
    if isinstance(identified, str):
        yield Step(identified)
        return
    yield Step(f"the request's name is {identified.name}")
    try:
        override = router.override.read(router.override.texts(request))
        interpreter = router.interpreter.with_dtab(override)
        if len(override):
            yield Step("the request brings its own entries", *map(str, override))
        yield Step("delegation, the last entry first", *delegate(interpreter, identified.name).lines())
        tree = interpreter.bind(identified.name)
    except ValueError as error:
        yield Step(f"the request's own entries cannot be read: {error}")
        return
    except Exception as error:
        yield Step(f"the name cannot be bound: {error}")
        return
    if isinstance(tree, Pending):
        return
    found = shares(tree)
    if len(found) > 1:
        how = f"drawn {draws[-1]:.6f}" if draws else "chosen by the sticky key"
        shown = [f"{'nobody' if bound is None else bound.cluster}: {share:.4%}" for bound, share in found]
        yield Step(f"weighted union, {how}", *shown)


def _actions(decision: Decision, request: RouteRequest) -> Iterator[Step]:
    route = decision.route
    rewrite = route.rewrite
    if isinstance(rewrite, Rewrite):
        if rewrite.host is not None:
            yield Step(f"host rewritten to {rewrite.host!r}")
        path = rewrite.rewritten(request.path, decision.matched)
        if path != request.path:
            yield Step(f"path rewritten to {path!r}")
    for name, edit in (("request", route.headers), ("response", route.response_headers)):
        if edit is not None:
            changes = [f"set {key}: {value}" for key, value in edit.set] + [
                f"add {key}: {value}" for key, value in edit.add
            ]
            yield Step(f"{name} headers", *changes, *[f"remove {key}" for key in sorted(edit.remove)])
    for mirror in route.mirrors:
        yield Step(f"mirrored to {mirror.cluster} ({mirror.ratio:.2%})")
    fault = route.fault
    if fault is not None:
        delay = f"delay of {fault.delay:g} s ({fault.delay_ratio:.2%})" if fault.delay is not None else ""
        status = fault.abort_status if fault.abort_grpc is None else f"gRPC {fault.abort_grpc}"
        abort = f"abort with {status} ({fault.abort_ratio:.2%})" if status is not None else ""
        yield Step("faults are injected", *filter(None, (delay, abort)))
    given = (("timeout", route.timeout), ("retry", route.retry), ("policies", route.policies))
    settings = [f"{name}: {value}" for name, value in given if value is not None]
    if settings:
        yield Step("settings of this rule", *settings)


def _outcome(decision: Decision) -> str:
    route = decision.route
    if decision.refused is not None:
        return f"refused: {decision.refused}"
    if route.outside:
        return "=> straight out, past the mesh"
    if route.redirect is not None:
        return f"=> answered with a redirect ({route.redirect.status})"
    return f"=> answered directly with {route.direct.status}" if route.direct else f"=> cluster {decision.cluster}"
