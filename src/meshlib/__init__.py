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
    from .balancing import Endpoint
    from .call import Call, Classifier, Verdict
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
    from .http.client import MeshClient, SyncMeshClient
    from .mesh import Cluster, Mesh, Service, Snapshot
    from .named import resilient
    from .pipeline import Pipeline, PolicyOrderWarning
    from .policies._decorators import (
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
    from .policies.admission import DeadlineAdmission
    from .policies.breaker import BreakerMetrics, CircuitBreaker, ManualControl, State
    from .policies.budget import ConcurrencyBudget, RetryBudget, TokenBudget
    from .policies.bulkhead import Bulkhead
    from .policies.cache import RequestCache, SingleFlight, request_scope
    from .policies.collapse import collapse
    from .policies.deadline import carry, deadline, remaining
    from .policies.failfast import FailFast
    from .policies.fallback import Fallback
    from .policies.hedge import Hedge
    from .policies.limiter import AdaptiveLimit
    from .policies.limits import AIMD, FixedLimit, Gradient, Gradient2, Vegas
    from .policies.pool import Pool, Thresholds
    from .policies.quota import Quota
    from .policies.rate import Cycles, FixedWindow, RateLimit, SlidingWindow, Smooth, TokenBucket
    from .policies.retry import Retry
    from .policies.threadpool import ThreadBulkhead
    from .policies.throttle import FailureThrottle, NackThrottle, SreThrottle, Throttle, http_nack
    from .policies.timeout import Timeout
    from .policies.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate

__all__ = [
    "AIMD",
    "AdaptiveLimit",
    "BreakerMetrics",
    "BreakerOpen",
    "Bulkhead",
    "BulkheadFull",
    "Call",
    "CircuitBreaker",
    "Classifier",
    "Cluster",
    "ConcurrencyBudget",
    "ConfigError",
    "Consecutive",
    "Cycles",
    "DeadlineAdmission",
    "DeadlineExceeded",
    "Either",
    "Endpoint",
    "FailFast",
    "FailureCount",
    "FailureRate",
    "FailureThrottle",
    "Fallback",
    "FixedLimit",
    "FixedWindow",
    "Gradient",
    "Gradient2",
    "Hedge",
    "ManualControl",
    "Mesh",
    "MeshClient",
    "MeshError",
    "NackThrottle",
    "NoEndpoint",
    "Pipeline",
    "PolicyOrderWarning",
    "Pool",
    "Quota",
    "RateLimit",
    "RateLimited",
    "Rejected",
    "RequestCache",
    "Retry",
    "RetryBudget",
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
    "Thresholds",
    "Throttle",
    "Throttled",
    "Timeout",
    "TokenBucket",
    "TokenBudget",
    "Vegas",
    "Verdict",
    "adaptive_limit",
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
    ".balancing": "Endpoint",
    ".call": "Call Classifier Verdict",
    ".errors": "BreakerOpen BulkheadFull ConfigError DeadlineExceeded MeshError NoEndpoint RateLimited Rejected "
    "Throttled",
    ".http.client": "MeshClient SyncMeshClient",
    ".mesh": "Cluster Mesh Service Snapshot",
    ".named": "resilient",
    ".pipeline": "Pipeline PolicyOrderWarning",
    ".policies._decorators": "adaptive_limit bulkhead circuit_breaker fallback hedge rate_limit request_cache retry "
    "single_flight throttle timeout",
    ".policies.admission": "DeadlineAdmission",
    ".policies.breaker": "BreakerMetrics CircuitBreaker ManualControl State",
    ".policies.budget": "ConcurrencyBudget RetryBudget TokenBudget",
    ".policies.bulkhead": "Bulkhead",
    ".policies.cache": "RequestCache SingleFlight request_scope",
    ".policies.collapse": "collapse",
    ".policies.deadline": "carry deadline remaining",
    ".policies.failfast": "FailFast",
    ".policies.fallback": "Fallback",
    ".policies.hedge": "Hedge",
    ".policies.limiter": "AdaptiveLimit",
    ".policies.limits": "AIMD FixedLimit Gradient Gradient2 Vegas",
    ".policies.pool": "Pool Thresholds",
    ".policies.quota": "Quota",
    ".policies.rate": "Cycles FixedWindow RateLimit SlidingWindow Smooth TokenBucket",
    ".policies.retry": "Retry",
    ".policies.threadpool": "ThreadBulkhead",
    ".policies.throttle": "FailureThrottle NackThrottle SreThrottle Throttle http_nack",
    ".policies.timeout": "Timeout",
    ".policies.trip": "Consecutive Either FailureCount FailureRate SlowCallRate",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}


def __getattr__(name: str) -> object:
    room = _HOME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(room, __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
