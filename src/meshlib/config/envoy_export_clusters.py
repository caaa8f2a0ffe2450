"""Envoy export of clusters: endpoints, balancer, outlier detection and limits in Envoy's fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from ..balancing import Endpoint
from .balancing_models import HealthCheckModel, OutlierModel, UnifiedModel
from .models import AccrualModel, ClusterModel

POLICIES = {
    "round_robin": "ROUND_ROBIN",
    "random": "RANDOM",
    "ring_hash": "RING_HASH",
    "maglev": "MAGLEV",
    "least_request": "LEAST_REQUEST",
}
ENFORCING = {
    "5xx": "consecutive_5xx",
    "gateway": "consecutive_gateway_failure",
    "local": "consecutive_local_origin_failure",
    "success_rate": "success_rate",
    "failure_percentage": "failure_percentage",
    "local_success_rate": "local_origin_success_rate",
    "local_failure_percentage": "failure_percentage_local_origin",
}
WITHOUT = ("throttle", "rate_limit", "adaptive_limit")
NONE = 4_294_967_295  # Envoy's own limits, switched off
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def cluster(
    name: str, model: ClusterModel, endpoints: Sequence[Endpoint], budget: float | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """One cluster of the bootstrap."""
    if model.breaker is not None:
        say("circuit breakers in our sense have no counterpart: Envoy only takes single endpoints out")
    for field in WITHOUT:
        if getattr(model, field) is not None:
            say(f"{name}: {field} has no counterpart")
    if budget is not None and model.limits is not None and model.limits.max_retries is not None:
        say(f"{name}: max_retries is written without the retry budget, for Envoy knows one of the two")
    kind = model.balancer.kind
    policy = POLICIES.get(kind, "LEAST_REQUEST")
    if kind not in POLICIES:
        say(f"balancer {kind!r} becomes LEAST_REQUEST, which does not look at latency")
    named = not all(_is_address(one) for one in endpoints)
    found: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if named else "STATIC",
        "connect_timeout": "1s",
        "lb_policy": policy,
        "common_lb_config": {"healthy_panic_threshold": {"value": model.panic * 100}},
        "load_assignment": {"cluster_name": name, "endpoints": _localities(endpoints)},
        "circuit_breakers": {"thresholds": [_limits(model, budget)]},
    }
    rest = _settings(found, kind, model.balancer.settings)
    if rest:
        say(f"{name}: {', '.join(rest)} of the balancer is left to Envoy's own")
    outliers = _accrual(model) if model.outlier is None else _outliers(model.outlier)
    if outliers is not None:
        found["outlier_detection"] = outliers
    if model.health_check is not None:
        found["health_checks"] = [_health(name, model.health_check)]
    if model.max_connection_duration is not None:
        found["typed_extension_protocol_options"] = {HTTP: _connections(model.max_connection_duration)}
    if model.tls:
        context: dict[str, Any] = {"@type": f"type.googleapis.com/{TLS}"}
        if model.tls_name:
            context["sni"] = model.tls_name
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        say(f"{name}: certificates are not checked until a validation_context is added")
    return found


def _connections(longest: float) -> dict[str, Any]:
    return {
        "@type": f"type.googleapis.com/{HTTP}",
        "common_http_protocol_options": {"max_connection_duration": f"{longest:.6f}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }


def _settings(found: dict[str, Any], kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the balancer's settings into the cluster; what Envoy cannot say is returned."""
    own: dict[str, Any] = {}
    if kind == "ring_hash":
        named = {
            "minimum_ring_size": settings.pop("min_size", None),
            "maximum_ring_size": settings.pop("max_size", None),
        }
        own["ring_hash_lb_config"] = {name: size for name, size in named.items() if size is not None}
    elif kind == "maglev" and "size" in settings:
        own["maglev_lb_config"] = {"table_size": settings.pop("size")}
    elif kind == "least_request":
        own["least_request_lb_config"] = config = {"choice_count": settings.pop("choices", 2)}
        if "active_request_bias" in settings:
            bias = {"default_value": settings.pop("active_request_bias"), "runtime_key": "least_request.bias"}
            config["active_request_bias"] = bias
    if "bound" in settings:
        bound = {"hash_balance_factor": round(settings.pop("bound") * 100)}
        found["common_lb_config"]["consistent_hashing_lb_config"] = bound
    found |= {name: config for name, config in own.items() if config}
    return settings


def _is_address(endpoint: Endpoint) -> bool:
    if endpoint.host.startswith("unix:"):
        return True
    try:
        ip_address(endpoint.host)
    except ValueError:
        return False
    return True


def _localities(endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    weights = [one.weight for one in endpoints]
    scale = 1 if all(weight == int(weight) for weight in weights) else 1000
    for one in endpoints:
        weight = round(one.weight * scale)
        if weight < 1:
            continue  # nobody is to ask it
        pipe = {"pipe": {"path": one.host[5:]}}
        place = {"socket_address": {"address": one.host, "port_value": one.port}}
        address = pipe if one.host.startswith("unix:") else place
        member = {"endpoint": {"address": address}, "load_balancing_weight": weight}
        groups.setdefault((one.zone, one.priority), []).append(member)
    return [
        {"lb_endpoints": members, "priority": priority} | ({"locality": {"zone": zone}} if zone else {})
        for (zone, priority), members in groups.items()
    ]


def _limits(model: ClusterModel, budget: float | None) -> dict[str, Any]:
    bulkhead, limits = model.bulkhead, model.limits
    most = bulkhead.max_concurrent if bulkhead is not None else NONE
    queue = bulkhead.max_queue if bulkhead is not None and bulkhead.max_wait else NONE
    found: dict[str, Any] = {"max_connections": most, "max_requests": most, "max_pending_requests": queue}
    if bulkhead is not None and not queue:
        found["max_pending_requests"] = 1  # 0 would refuse every request that needs a new connection
    if limits is not None:
        if limits.max_connections is not None:
            found["max_connections"] = min(limits.max_connections, most)
            found["max_pending_requests"] = NONE if limits.max_pending is None else max(1, limits.max_pending)
        if limits.max_requests is not None:
            found["max_requests"] = min(limits.max_requests, most)
        if limits.max_retries is not None:
            return found | {"max_retries": limits.max_retries}  # which Envoy does not look at beside a retry_budget
    if budget is not None:
        found["retry_budget"] = {"budget_percent": {"value": min(budget * 100, 100.0)}, "min_retry_concurrency": 3}
    return found


def _outliers(model: OutlierModel) -> dict[str, Any]:
    time, rate, share = model.ejection_time, model.success_rate, model.failure_percentage
    found: dict[str, Any] = {
        "consecutive_5xx": model.consecutive_5xx or 5,
        "consecutive_gateway_failure": model.consecutive_gateway or 5,
        "consecutive_local_origin_failure": model.consecutive_local or 5,
        "success_rate_minimum_hosts": rate.min_hosts,
        "success_rate_request_volume": rate.min_requests,
        "success_rate_stdev_factor": round(rate.stdev_factor * 1000),
        "failure_percentage_threshold": round(share.threshold * 100),
        "failure_percentage_minimum_hosts": share.min_hosts,
        "failure_percentage_request_volume": share.min_requests,
        "interval": f"{model.interval:.6f}s",
        "base_ejection_time": f"{time.base:.6f}s",
        "max_ejection_time": f"{time.max_time or max(300.0, time.base):.6f}s",
        "max_ejection_time_jitter": f"{time.jitter:.6f}s",
        "max_ejection_percent": round(model.max_ejected * 100),
        "always_eject_one_host": model.always_one,
        "split_external_local_origin_errors": model.split,
    }
    counts = {"5xx": model.consecutive_5xx, "gateway": model.consecutive_gateway, "local": model.consecutive_local}
    for criterion, field in ENFORCING.items():
        found[f"enforcing_{field}"] = 100 if criterion in model.enforce and counts.get(criterion, 1) else 0
    return found


def _health(name: str, model: HealthCheckModel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "timeout": f"{model.timeout:.6f}s",
        "interval": f"{model.interval:.6f}s",
        "initial_jitter": f"{model.initial_jitter:.6f}s",
        "interval_jitter_percent": round(model.jitter * 100),
        "healthy_threshold": model.healthy_threshold,
        "unhealthy_threshold": model.unhealthy_threshold,
    }
    for field in ("unhealthy_interval", "edge_interval"):
        seconds = getattr(model, field)
        if seconds is not None:
            found["unhealthy_edge_interval" if field == "edge_interval" else field] = f"{seconds:.6f}s"
    if model.http is not None:
        statuses = [{"start": status, "end": status + 1} for status in model.http.statuses]
        asked = {"host": model.http.host or name, "path": model.http.path, "method": model.http.method}
        found["http_health_check"] = {**asked, "expected_statuses": statuses}
    elif model.grpc is not None:
        found["grpc_health_check"] = {"service_name": model.grpc.service}
    else:
        found["tcp_health_check"] = {}
    return found


def _accrual(model: ClusterModel) -> dict[str, Any] | None:
    accrual = model.accrual
    if accrual is None:
        return None
    shortest, longest = accrual.backoff
    if isinstance(accrual, UnifiedModel):  # as if by failures and their share, which Envoy knows
        accrual = AccrualModel(
            consecutive_failures=accrual.consecutive_failures,
            failure_share=max(1.0 - accrual.success_rate, 0.01),
            minimum_calls=accrual.minimum_calls,
        )
    share = accrual.failure_share < 1
    return {
        "consecutive_5xx": accrual.consecutive_failures or 5,
        "enforcing_consecutive_5xx": 100 if accrual.consecutive_failures else 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "failure_percentage_threshold": round(accrual.failure_share * 100),
        "failure_percentage_request_volume": accrual.minimum_calls,
        "failure_percentage_minimum_hosts": 1,
        "enforcing_failure_percentage": 100 if share else 0,
        "interval": "1s",
        "base_ejection_time": f"{max(shortest, 0.001):.6f}s",
        "max_ejection_time": f"{max(longest, shortest, 0.001):.6f}s",
        "max_ejection_percent": 100,
    }
