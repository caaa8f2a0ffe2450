"""Route builder: from the rules of a mesh.yaml to the compiled route table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from ..routing.actions import DirectResponse, Fault, HeaderEdit, Mirror, Redirect, Rewrite
from ..routing.hosts import pattern
from ..routing.match import Match, Text
from ..routing.route import Route
from ..routing.split import Destination, KeyKind, Split, Sticky, StickyKey
from ..routing.table import RouteTable, ServiceRoutes
from ..routing.url_path import ExactPath, PrefixPath, RegexPath, TemplatePath, UrlPath
from .build_dtab import dtab_router
from .document import Document, Place
from .models import EgressModel, MeshModel, ServiceModel
from .route_models import ArmModel, HeaderEditModel, KeyModel, MatchModel, PathModel, RouteModel, StickyModel, TextModel

RoutePolicies: TypeAlias = Mapping[int, Any]  # by the place of the rule
NO_POLICIES: RoutePolicies = MappingProxyType({})
NONE: Mapping[str, Any] = MappingProxyType({})
EGRESS = "egress"
REFUSED = "egress is refused, and no service has this name"
UNLISTED = "egress does not list this name, and no service has it"


def route_table(
    document: Document,
    model: MeshModel,
    policies: Mapping[str, RoutePolicies] = NONE,
    kept: Mapping[str, ServiceRoutes] = NONE,
    names: Mapping[str, Any] = NONE,
) -> RouteTable:
    """The table of all services. Raises `ConfigError` for what only the compiler sees (a bad pattern, say).

    `policies` are those of the rules that have their own, by service; `kept` are services that are compiled already,
    and `names` the policies of the names that a dtab has.
    """
    services = [
        kept.get(name) or _service(document, ("services", name), service, policies.get(name, NO_POLICIES))
        for name, service in model.services.items()
    ]
    egress = model.egress
    outside = egress.hosts if isinstance(egress, EgressModel) else ()
    for index, host in enumerate(outside):
        try:
            pattern(host)
        except ValueError as error:
            raise document.error((EGRESS, "hosts", index), str(error).removeprefix("hosts: ")) from None
    unknown = dtab_router(document, model, names) or _unknown(document, egress, policies.get(EGRESS, NO_POLICIES))
    try:
        return RouteTable(services, unknown=unknown, outside=outside)
    except ValueError as error:
        raise document.error(("services",), str(error)) from None


def _unknown(document: Document, egress: EgressModel | str, policies: RoutePolicies) -> ServiceRoutes | str | None:
    """What becomes of a host that no service takes, and that egress does not list."""
    if not isinstance(egress, EgressModel):
        return REFUSED if egress == "refuse" else None
    if egress.has_rules:
        return _service(document, (EGRESS,), egress, policies)
    return None if egress.otherwise == "allow" else UNLISTED


def clusters_of(service: ServiceModel) -> Mapping[Place, str]:
    """Every cluster that a service names, by its place below the service."""
    named: dict[Place, str] = {("split", name): name for name in service.split}
    for index, route in enumerate(service.routes):
        named |= {("routes", index, "split", name): name for name in route.split}
        named |= {("routes", index, "mirror", name): name for name in route.mirror}
    return named


def live_clusters(service: ServiceModel) -> frozenset[str]:
    """The clusters that can be drawn at all, by whatever rule."""
    splits = [service.split, *(route.split for route in service.routes)]
    return frozenset(name for split in splits for name, weight in split.items() if weight > 0)


def _service(document: Document, base: Place, model: ServiceModel, policies: RoutePolicies) -> ServiceRoutes:
    name = str(base[-1])
    place = base
    routes = []
    try:
        for index, route in enumerate(model.routes):
            place = (*base, "routes", index)
            routes.append(_route(route, policies.get(index)))
        place = (*base, "split")
        # A service that has rules and names no split has no default: what no rule takes is refused.
        default = Split(model.split, sticky=sticky(model.sticky)) if model.split else None if routes else Split(name)
        place = base
        return ServiceRoutes(name, hosts=model.hosts, routes=routes, default=default)
    except ValueError as error:
        raise document.error(place, str(error)) from None


def _route(model: RouteModel, policies: Any) -> Route:
    return Route(
        name=model.name,
        match=[_match(match) for match in model.match],
        to=Split(_arms(model), sticky=sticky(model.sticky)) if model.split else None,
        redirect=Redirect(**model.redirect.model_dump()) if model.redirect else None,
        direct=DirectResponse(model.respond.status, body=model.respond.body.encode(), headers=model.respond.headers)
        if model.respond
        else None,
        outside=model.outside,
        rewrite=Rewrite(**model.rewrite.model_dump()) if model.rewrite else None,
        headers=_edit(model.request_headers),
        response_headers=_edit(model.response_headers),
        mirrors=[Mirror(cluster, ratio=ratio) for cluster, ratio in model.mirror.items()],
        fault=Fault(**model.fault.model_dump()) if model.fault else None,
        timeout=model.timeout,
        policies=policies,
    )


def _arms(model: RouteModel) -> list[Destination]:
    found = []
    for cluster, weight in model.split.items():
        arm = model.arms.get(cluster) or ArmModel()
        edits = {"headers": _edit(arm.request_headers), "response_headers": _edit(arm.response_headers)}
        found.append(Destination(cluster, weight=weight, **edits))
    return found


def _match(model: MatchModel) -> Match:
    return Match(
        path=_path(model.path) if isinstance(model.path, PathModel) else model.path,
        methods=model.method,
        hosts=[_text(text) for text in model.host],
        schemes=model.scheme,
        ports=model.port,
        headers=_texts(model.headers),
        query=_texts(model.query),
        cookies=_texts(model.cookies),
        labels=_texts(model.labels),
        env=model.env,
    )


def _path(model: PathModel) -> UrlPath:
    if model.exact is not None:
        return ExactPath(model.exact, ignore_case=model.ignore_case)
    if model.prefix is not None:
        return PrefixPath(model.prefix, segments=model.segments, ignore_case=model.ignore_case)
    if model.regex is not None:
        return RegexPath(model.regex, ignore_case=model.ignore_case)
    return TemplatePath(model.template or "")


def _texts(models: Mapping[str, TextModel]) -> dict[str, Text | str]:
    return {name: _text(model) for name, model in models.items()}


def _text(model: TextModel) -> Text:
    return Text(**model.model_dump())


def sticky(model: StickyModel | None) -> Sticky | None:
    return None if model is None else Sticky(*[_key(key) for key in model.by], method=model.method)


def _key(model: KeyModel) -> StickyKey:
    if model.key:
        return StickyKey("key", terminal=model.terminal)
    kinds: tuple[KeyKind, ...] = ("header", "cookie", "query", "label")
    kind = next(kind for kind in kinds if getattr(model, kind) is not None)
    return StickyKey(kind, getattr(model, kind), terminal=model.terminal, ttl=model.ttl, path=model.path)


def _edit(model: HeaderEditModel | None) -> HeaderEdit | None:
    return HeaderEdit(**model.model_dump()) if model is not None else None
