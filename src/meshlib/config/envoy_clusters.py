"""How does Envoy say a cluster: its endpoints, balancer, outlier detection and limits?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from ..balancing import Endpoint
from .balancing_models import UnifiedModel
from .models import ClusterModel

POLICIES = {
    "round_robin": "ROUND_ROBIN",
    "random": "RANDOM",
    "ring_hash": "RING_HASH",
    "maglev": "MAGLEV",
    "least_request": "LEAST_REQUEST",
}
WITHOUT = ("throttle", "rate_limit", "adaptive_limit")
NONE = 4_294_967_295  # Envoy's own limits, switched off
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
    outliers = _outliers(model)
    if outliers is not None:
        found["outlier_detection"] = outliers
    if model.tls:
        context: dict[str, Any] = {"@type": f"type.googleapis.com/{TLS}"}
        if model.tls_name:
            context["sni"] = model.tls_name
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        say(f"{name}: certificates are not checked until a validation_context is added")
    return found


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
    bulkhead = model.bulkhead
    most = bulkhead.max_concurrent if bulkhead is not None else NONE
    queue = bulkhead.max_queue if bulkhead is not None and bulkhead.max_wait else NONE
    found: dict[str, Any] = {"max_connections": most, "max_requests": most, "max_pending_requests": queue}
    if bulkhead is not None and not queue:
        found["max_pending_requests"] = 1  # 0 would refuse every request that needs a new connection
    if budget is not None:
        found["retry_budget"] = {"budget_percent": {"value": min(budget * 100, 100.0)}, "min_retry_concurrency": 3}
    return found


def _outliers(model: ClusterModel) -> dict[str, Any] | None:
    """Envoy's own, where the cluster has one like it; else what comes nearest to accrual."""
    accrual, outlier = model.accrual, model.outlier
    if outlier is not None:
        runs = {
            "5xx": outlier.consecutive_5xx,
            "gateway": outlier.consecutive_gateway,
            "local": outlier.consecutive_local,
        }
        enforced = {name: 100 if name in outlier.enforce and length else 0 for name, length in runs.items()}
        return {
            "consecutive_5xx": outlier.consecutive_5xx or 5,
            "consecutive_gateway_failure": outlier.consecutive_gateway or 5,
            "consecutive_local_origin_failure": outlier.consecutive_local or 5,
            "split_external_local_origin_errors": outlier.split,
            "interval": f"{outlier.interval:.6f}s",
            "base_ejection_time": f"{outlier.base_ejection:.6f}s",
            "max_ejection_time": f"{max(outlier.max_ejection or 300.0, outlier.base_ejection):.6f}s",
            "max_ejection_time_jitter": f"{outlier.jitter:.6f}s",
            "max_ejection_percent": round(outlier.max_ejected * 100),
            "always_eject_one_host": outlier.always_one,
            "success_rate_stdev_factor": round(outlier.stdev_factor * 1000),
            "success_rate_minimum_hosts": outlier.success_hosts,
            "success_rate_request_volume": outlier.success_volume,
            "failure_percentage_threshold": round(outlier.failure_threshold * 100),
            "failure_percentage_minimum_hosts": outlier.failure_hosts,
            "failure_percentage_request_volume": outlier.failure_volume,
            "enforcing_consecutive_5xx": enforced["5xx"],
            "enforcing_consecutive_gateway_failure": enforced["gateway"],
            "enforcing_consecutive_local_origin_failure": enforced["local"],
            "enforcing_success_rate": 100 if "success_rate" in outlier.enforce else 0,
            "enforcing_failure_percentage": 100 if "failure_percentage" in outlier.enforce else 0,
        }
    if accrual is None:
        return None
    if isinstance(accrual, UnifiedModel):
        return {"consecutive_5xx": accrual.failures or 5, "enforcing_consecutive_5xx": 100 if accrual.failures else 0}
    shortest, longest = accrual.backoff
    share = accrual.failure_share < 1
    return {
        "consecutive_5xx": accrual.failures or 5,
        "enforcing_consecutive_5xx": 100 if accrual.failures else 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "failure_percentage_threshold": round(accrual.failure_share * 100),
        "failure_percentage_request_volume": accrual.volume,
        "failure_percentage_minimum_hosts": 1,
        "enforcing_failure_percentage": 100 if share else 0,
        "interval": "1s",
        "base_ejection_time": f"{max(shortest, 0.001):.6f}s",
        "max_ejection_time": f"{max(longest, shortest, 0.001):.6f}s",
        "max_ejection_percent": 100,
    }
