"""Envoy export: a static Envoy bootstrap (version 3) from a mesh file.

The same requests go to the same clusters, sticky splits included, because both hash alike. What Envoy has no
counterpart for is told in `Exported.differences`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..routing.route import Route
from ..routing.split import Split
from ..routing.table import ServiceRoutes
from .build_routes import route_table, sticky
from .envoy_export_clusters import cluster as envoy_cluster
from .envoy_export_match import Unmatched, export_match, hash_policies
from .loaded import Loaded
from .models import ClusterModel, ServiceModel

ROUTER = "envoy.extensions.filters.http.router.v3.Router"
FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PREVIOUS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
WHOLE = "^[^?]*$"


@dataclass(slots=True)
class Exported:
    """The bootstrap as plain data, and what behaves otherwise there, in sentences."""

    bootstrap: dict[str, Any]
    differences: list[str] = field(default_factory=list)


def export(loaded: Loaded, *, port: int = 15001, admin_port: int = 9901, address: str = "127.0.0.1") -> Exported:
    """The bootstrap of an Envoy that listens on `port`. Raises `ConfigError` for rules that make no sense."""
    found = Exported({})
    writer = _Writer(loaded, found.differences)
    hosts = list(writer.virtual_hosts())
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "mesh",
        "strip_any_host_port": True,
        "route_config": {"name": "mesh", "virtual_hosts": hosts},
        "http_filters": [_filter("fault", FAULT), _filter("router", ROUTER)],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    clusters = [
        envoy_cluster(name, model, loaded.endpoints[name], writer.budget(name), writer.say)
        for name, model in loaded.model.clusters.items()
    ]
    found.bootstrap = {
        "admin": {"address": _socket(address, admin_port)},
        "static_resources": {
            "listeners": [{"name": "mesh", "address": _socket(address, port), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    }
    return found


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _filter(name: str, kind: str) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"type.googleapis.com/{kind}"}}


class _Writer:
    """Writes the routes of one mesh file."""

    def __init__(self, loaded: Loaded, differences: list[str]) -> None:
        self._model = loaded.model
        self._table = route_table(loaded.document, loaded.model)
        self._differences = differences

    def say(self, difference: str) -> None:
        if difference not in self._differences:
            self._differences.append(difference)

    def virtual_hosts(self) -> Iterator[dict[str, Any]]:
        for name, service in self._table.services.items():
            yield self._virtual_host(service, list(service.hosts), self._model.services[name])
        unknown = self._table.unknown
        if self._table.outside:
            self.say("hosts that egress lists go straight out of the client; Envoy knows nothing of them")
        if isinstance(unknown, ServiceRoutes) and isinstance(self._model.egress, ServiceModel):
            yield self._virtual_host(unknown, ["*"], self._model.egress)
        elif unknown is None:
            self.say("hosts that the mesh does not know go straight out of the client; Envoy answers them with 404")
        elif not isinstance(unknown, str):
            self.say("the dtab has no counterpart: names that only it knows are answered with 404")

    def budget(self, cluster: str) -> float | None:
        """The retry budget of the first service that leads to this cluster."""
        for name, service in self._table.services.items():
            splits = [route.to for route in (*service.routes, service.default) if route is not None and route.to]
            if any(arm.cluster == cluster for split in splits for arm in split.destinations):
                return self._model.services[name].budget.ratio
        return None

    def _virtual_host(self, service: ServiceRoutes, domains: list[str], model: ServiceModel) -> dict[str, Any]:
        if model.hedge is not None:
            self.say(f"{service.name}: hedges have no counterpart")
        routes: list[dict[str, Any]] = []
        for route in (*service.routes, *([service.default] if service.default is not None else [])):
            at = service.routes.index(route) if route in service.routes else -1
            settings = model if at < 0 else self._settings(model, at)
            for alternative in route.match or (None,):
                try:
                    match = export_match(alternative, self._model.labels)
                except Unmatched as reason:
                    self.say(f"{service.name}, rule {route.name or at}: {reason}: left out")
                    continue
                if match is not None:
                    written = self._route(service.name, route, alternative, settings)
                    if written is not None:
                        routes.append({"match": match, **written})
        return {"name": service.name, "domains": domains, "routes": routes}

    def _settings(self, model: ServiceModel, at: int) -> ServiceModel:
        """The service's policies as one rule has them."""
        rule = model.routes[at]
        if rule.policies is not None:
            return self._model.services[rule.policies]
        given = ("timeout", "per_try_timeout", "retry")
        own = {name: getattr(rule, name) for name in given if getattr(rule, name) is not None}
        return model.model_copy(update=own)

    def _route(self, name: str, route: Route, alternative: Any, model: ServiceModel) -> dict[str, Any] | None:
        if route.outside:
            self.say(f"{name}, rule {route.name}: straight out has no counterpart: left out")
            return None
        found: dict[str, Any] = _headers(route)
        if route.fault is not None:
            found["typed_per_filter_config"] = {"envoy.filters.http.fault": _fault(route)}
        if route.redirect is not None:
            found["redirect"] = _redirect(route)
        elif route.direct is not None:
            direct = {"status": route.direct.status}
            body = {"body": {"inline_string": route.direct.body.decode()}} if route.direct.body else {}
            found["direct_response"] = {**direct, **body}
            found.setdefault("response_headers_to_add", []).extend(
                _header(key, value, "OVERWRITE_IF_EXISTS_OR_ADD") for key, value in route.direct.headers.items()
            )
        elif route.to is not None:
            found["route"] = self._action(name, route, route.to, alternative, model)
        return found

    def _action(self, name: str, route: Route, split: Split, alternative: Any, model: ServiceModel) -> dict[str, Any]:
        action: dict[str, Any] = {"timeout": f"{model.timeout:.6f}s" if model.timeout else "0s"}
        policies = hash_policies(split.sticky, self.say) if split.sticky is not None else []
        for arm in split.destinations:
            cluster = self._model.clusters.get(arm.cluster) or ClusterModel()
            keyed = sticky(cluster.sticky)
            if not policies and keyed is not None:
                policies = hash_policies(keyed, self.say)
        if policies:
            action["hash_policy"] = policies
        if len(split.destinations) == 1:
            action["cluster"] = split.destinations[0].cluster
            arms = split.destinations[0]
            if arms.headers or arms.response_headers:
                action.pop("cluster")
                action["weighted_clusters"] = {"clusters": [{**_arm(arms), "weight": 1}]}
        else:
            kept = bool(policies) and split.sticky is not None
            action["weighted_clusters"] = self._weighted(name, split, sticky=kept)
        if route.rewrite is not None:
            action |= _rewrite(route, alternative)
        if route.mirrors:
            action["request_mirror_policies"] = [
                {
                    "cluster": mirror.cluster,
                    "runtime_fraction": {"default_value": _millionths(mirror.ratio)},
                }
                for mirror in route.mirrors
            ]
        retry = model.retry
        if retry is not None and retry.attempts > 1:
            action["retry_policy"] = _retry(model)
            self.say("a retry in Envoy is for idempotent methods alone, also when a connection failed")
        return action

    def _weighted(self, name: str, split: Split, *, sticky: bool) -> dict[str, Any]:
        weights = split.envoy_weights()
        if weights is None:
            self.say(f"{name}: a sticky split of more than two by `stable` moves other keys than Envoy's rule would")
            unsticky = Split(list(split.destinations))
            weights = unsticky.envoy_weights() or []
        arms = [{**_arm(arm), "weight": weight} for arm, weight in zip(split.destinations, weights, strict=True)]
        return {"clusters": arms} | ({"use_hash_policy": True} if sticky else {})


def _arm(arm: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": arm.cluster}
    for edit, way in ((arm.headers, "request"), (arm.response_headers, "response")):
        if edit is not None:
            found |= _edits(edit, way)
    return found


def _headers(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for edit, way in ((route.headers, "request"), (route.response_headers, "response")):
        if edit is not None:
            found |= _edits(edit, way)
    return found


def _edits(edit: Any, way: str) -> dict[str, Any]:
    changes = [_header(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in edit.set]
    changes += [_header(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in edit.add]
    found: dict[str, Any] = {f"{way}_headers_to_add": changes} if changes else {}
    return found | ({f"{way}_headers_to_remove": sorted(edit.remove)} if edit.remove else {})


def _header(name: str, value: str, action: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value.replace("%", "%%")}, "append_action": action}


def _millionths(ratio: float) -> dict[str, Any]:
    return {"numerator": round(ratio * 1_000_000), "denominator": "MILLION"}


def _fault(route: Route) -> dict[str, Any]:
    fault: Any = route.fault
    found: dict[str, Any] = {"@type": f"type.googleapis.com/{FAULT}"}
    if fault.delay is not None:
        found["delay"] = {"fixed_delay": f"{fault.delay:.6f}s", "percentage": _millionths(fault.delay_ratio)}
    elif fault.delay_header is not None:
        found["delay"] = {"header_delay": {}, "percentage": _millionths(fault.delay_ratio)}
    status = {"http_status": fault.abort_status} if fault.abort_status is not None else {}
    status |= {"grpc_status": fault.abort_grpc} if fault.abort_grpc is not None else {}
    if not status and fault.abort_header is not None:
        status = {"header_abort": {}}
    if status:
        found["abort"] = {**status, "percentage": _millionths(fault.abort_ratio)}
    return found


def _redirect(route: Route) -> dict[str, Any]:
    redirect: Any = route.redirect
    found: dict[str, Any] = {"response_code": CODES[redirect.status]}
    for ours, theirs in (("scheme", "scheme_redirect"), ("host", "host_redirect"), ("port", "port_redirect")):
        value = getattr(redirect, ours)
        if value is not None:
            found[theirs] = value
    rewrite = redirect.rewrite
    if rewrite is not None:
        whole = rewrite.path is not None
        found |= {"path_redirect": rewrite.path} if whole else {"prefix_rewrite": rewrite.prefix or "/"}
    return found | ({"strip_query": True} if redirect.strip_query else {})


def _rewrite(route: Route, alternative: Any) -> dict[str, Any]:
    rewrite: Any = route.rewrite
    found: dict[str, Any] = {"host_rewrite_literal": rewrite.host} if rewrite.host is not None else {}
    path = getattr(alternative, "path", None)
    literal = getattr(path, "value", None)
    if rewrite.regex is not None:
        return found | _regex_rewrite(rewrite.regex.pattern, rewrite.path or "")
    if rewrite.path is not None:
        return found | _regex_rewrite(WHOLE, rewrite.path)
    if rewrite.prefix is not None:
        if literal is None:
            return found | _regex_rewrite(WHOLE, rewrite.prefix or "/")
        if getattr(path, "segments", False) and rewrite.prefix.endswith("/"):
            return found | _regex_rewrite(f"^{_quoted(literal)}/*", rewrite.prefix)
        return found | {"prefix_rewrite": rewrite.prefix or "/"}
    return found


def _quoted(text: str) -> str:
    return "".join(f"\\{one}" if one in r"\.+*?()|[]{}^$" else one for one in text)


def _regex_rewrite(pattern: str, substitution: str) -> dict[str, Any]:
    return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}}


def _retry(model: ServiceModel) -> dict[str, Any]:
    retry: Any = model.retry
    found: dict[str, Any] = {
        "retry_on": "connect-failure,refused-stream,reset" + (",retriable-status-codes" if retry.statuses else ""),
        "num_retries": retry.attempts - 1,
        "retry_back_off": {
            "base_interval": f"{max(retry.backoff, 0.001):.6f}s",
            "max_interval": f"{max(retry.max_backoff, retry.backoff, 0.001):.6f}s",
        },
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{PREVIOUS}"},
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retriable_request_headers": [
            {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"}}}
        ],
    }
    if retry.statuses:
        found["retriable_status_codes"] = list(retry.statuses)
    if model.per_try_timeout:
        found["per_try_timeout"] = f"{model.per_try_timeout:.6f}s"
    return found
