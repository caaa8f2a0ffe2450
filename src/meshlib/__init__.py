"""The service mesh that you import: resilience, balancing and routing inside your own process.

from meshlib import Mesh, MeshClient, circuit_breaker

mesh = Mesh.from_file("mesh.yaml")
async with MeshClient(mesh=mesh) as client:
    response = await client.get("http://users/v1/me")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from . import backoff
    from .balancing import Balancer, Endpoint
    from .call import Call, Classifier, Verdict
    from .config.document_types import MeshDocument
    from .discovery.store import RouteStore
    from .errors import (
        BreakerOpen,
        BulkheadFull,
        ConfigError,
        DeadlineExceeded,
        MeshError,
        NoEndpoint,
        RateLimited,
        Rejected,
        Throttled,
    )
    from .events import Event, Listener
    from .http.client.clients import MeshClient, SyncMeshClient
    from .mesh import Cluster, Mesh, Service, Snapshot
    from .named import resilient
    from .pipeline import Pipeline, Policy, PolicyOrderWarning
    from .policies.breaker.circuit_breaker import BreakerMetrics, CircuitBreaker, Cooldown, ManualControl, Probes, State
    from .policies.breaker.fail_fast import FailFast
    from .policies.breaker.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate
    from .policies.cache.collapse import collapse
    from .policies.cache.request_cache import RequestCache, SingleFlight, request_scope
    from .policies.concurrency.adaptive_limit import AdaptiveLimit
    from .policies.concurrency.bulkhead import Bulkhead
    from .policies.concurrency.cluster_limits import ClusterLimits
    from .policies.concurrency.limit_algorithms import AIMD, FixedLimit, Gradient, Gradient2, Vegas
    from .policies.concurrency.thread_bulkhead import ThreadBulkhead
    from .policies.deadline.deadline import carry, deadline, remaining
    from .policies.deadline.deadline_admission import DeadlineAdmission
    from .policies.deadline.timeout import Timeout
    from .policies.fallback import Fallback
    from .policies.rate.quota import Quota
    from .policies.rate.rate_limit import Cycles, FixedWindow, RateLimit, SlidingWindow, Smooth, TokenBucket
    from .policies.rate.redis_store import RedisStore
    from .policies.retry.budget import ConcurrencyBudget, RetryBudget, TokenBudget
    from .policies.retry.hedge import Hedge
    from .policies.retry.hedge_delay import Percentile
    from .policies.retry.retry import Retry
    from .policies.retry.retry_hooks import RetryHooks
    from .policies.shell.decorators import (
        adaptive_limit,
        bulkhead,
        circuit_breaker,
        fallback,
        hedge,
        rate_limit,
        request_cache,
        retry,
        single_flight,
        throttle,
        timeout,
    )
    from .policies.shell.gate import Gate
    from .policies.throttle.throttle import FailureThrottle, NackThrottle, SreThrottle, Throttle, http_nack

__all__ = [
    "AIMD",
    "AdaptiveLimit",
    "Balancer",
    "BreakerMetrics",
    "BreakerOpen",
    "Bulkhead",
    "BulkheadFull",
    "Call",
    "CircuitBreaker",
    "Classifier",
    "Cluster",
    "ClusterLimits",
    "ConcurrencyBudget",
    "ConfigError",
    "Consecutive",
    "Cooldown",
    "Cycles",
    "DeadlineAdmission",
    "DeadlineExceeded",
    "Either",
    "Endpoint",
    "Event",
    "FailFast",
    "FailureCount",
    "FailureRate",
    "FailureThrottle",
    "Fallback",
    "FixedLimit",
    "FixedWindow",
    "Gate",
    "Gradient",
    "Gradient2",
    "Hedge",
    "Listener",
    "ManualControl",
    "Mesh",
    "MeshClient",
    "MeshDocument",
    "MeshError",
    "NackThrottle",
    "NoEndpoint",
    "Percentile",
    "Pipeline",
    "Policy",
    "PolicyOrderWarning",
    "Probes",
    "Quota",
    "RateLimit",
    "RateLimited",
    "RedisStore",
    "Rejected",
    "RequestCache",
    "Retry",
    "RetryBudget",
    "RetryHooks",
    "RouteStore",
    "Service",
    "SingleFlight",
    "SlidingWindow",
    "SlowCallRate",
    "Smooth",
    "Snapshot",
    "SreThrottle",
    "State",
    "SyncMeshClient",
    "ThreadBulkhead",
    "Throttle",
    "Throttled",
    "Timeout",
    "TokenBucket",
    "TokenBudget",
    "Vegas",
    "Verdict",
    "adaptive_limit",
    "backoff",
    "bulkhead",
    "carry",
    "circuit_breaker",
    "collapse",
    "deadline",
    "fallback",
    "hedge",
    "http_nack",
    "rate_limit",
    "remaining",
    "request_cache",
    "request_scope",
    "resilient",
    "retry",
    "single_flight",
    "throttle",
    "timeout",
]

# `import meshlib` loads nothing: each name comes with the room that it lives in, when it is first asked for.
_ROOMS = {
    ".backoff": "backoff",
    ".balancing": "Balancer Endpoint",
    ".call": "Call Classifier Verdict",
    ".config.document_types": "MeshDocument",
    ".errors": "BreakerOpen BulkheadFull ConfigError DeadlineExceeded MeshError NoEndpoint RateLimited Rejected "
    "Throttled",
    ".http.client.clients": "MeshClient SyncMeshClient",
    ".mesh": "Cluster Mesh Service Snapshot",
    ".named": "resilient",
    ".discovery.store": "RouteStore",
    ".events": "Event Listener",
    ".pipeline": "Pipeline Policy PolicyOrderWarning",
    ".policies.shell.decorators": "adaptive_limit bulkhead circuit_breaker fallback hedge rate_limit request_cache "
    "retry single_flight throttle timeout",
    ".policies.deadline.deadline_admission": "DeadlineAdmission",
    ".policies.breaker.circuit_breaker": "BreakerMetrics CircuitBreaker Cooldown ManualControl Probes State",
    ".policies.retry.budget": "ConcurrencyBudget RetryBudget TokenBudget",
    ".policies.concurrency.bulkhead": "Bulkhead",
    ".policies.cache.request_cache": "RequestCache SingleFlight request_scope",
    ".policies.cache.collapse": "collapse",
    ".policies.deadline.deadline": "carry deadline remaining",
    ".policies.breaker.fail_fast": "FailFast",
    ".policies.fallback": "Fallback",
    ".policies.retry.hedge": "Hedge",
    ".policies.retry.hedge_delay": "Percentile",
    ".policies.concurrency.adaptive_limit": "AdaptiveLimit",
    ".policies.concurrency.cluster_limits": "ClusterLimits",
    ".policies.concurrency.limit_algorithms": "AIMD FixedLimit Gradient Gradient2 Vegas",
    ".policies.rate.quota": "Quota",
    ".policies.rate.rate_limit": "Cycles FixedWindow RateLimit SlidingWindow Smooth TokenBucket",
    ".policies.rate.redis_store": "RedisStore",
    ".policies.retry.retry": "Retry",
    ".policies.retry.retry_hooks": "RetryHooks",
    ".policies.concurrency.thread_bulkhead": "ThreadBulkhead",
    ".policies.shell.gate": "Gate",
    ".policies.throttle.throttle": "FailureThrottle NackThrottle SreThrottle Throttle http_nack",
    ".policies.deadline.timeout": "Timeout",
    ".policies.breaker.trip": "Consecutive Either FailureCount FailureRate SlowCallRate",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    room = _HOME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(room, __name__)
    value = globals()[name] = module if room == f".{name}" else getattr(module, name)
    return value


def _version() -> str:
    """The version of the installed distribution, from its metadata."""
    from importlib.metadata import version

    found = globals()["__version__"] = version("meshlib-client")
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
