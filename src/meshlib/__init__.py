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
    from .policies.breaker import CircuitBreaker, State
    from .policies.budget import RetryBudget
    from .policies.bulkhead import Bulkhead
    from .policies.cache import RequestCache, SingleFlight, request_scope
    from .policies.collapse import collapse
    from .policies.deadline import carry, deadline, remaining
    from .policies.failfast import FailFast
    from .policies.fallback import Fallback
    from .policies.hedge import Hedge
    from .policies.limiter import AdaptiveLimit
    from .policies.limits import AIMD, Gradient2, Vegas
    from .policies.rate import RateLimit
    from .policies.retry import Retry
    from .policies.threadpool import ThreadBulkhead
    from .policies.throttle import Throttle
    from .policies.timeout import Timeout
    from .policies.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate

__all__ = [
    "AIMD",
    "AdaptiveLimit",
    "BreakerOpen",
    "Bulkhead",
    "BulkheadFull",
    "Call",
    "CircuitBreaker",
    "Classifier",
    "Cluster",
    "ConfigError",
    "Consecutive",
    "DeadlineExceeded",
    "Either",
    "Endpoint",
    "FailFast",
    "FailureCount",
    "FailureRate",
    "Fallback",
    "Gradient2",
    "Hedge",
    "Mesh",
    "MeshClient",
    "MeshError",
    "NoEndpoint",
    "Pipeline",
    "PolicyOrderWarning",
    "RateLimit",
    "RateLimited",
    "Rejected",
    "RequestCache",
    "Retry",
    "RetryBudget",
    "Service",
    "SingleFlight",
    "SlowCallRate",
    "Snapshot",
    "State",
    "SyncMeshClient",
    "ThreadBulkhead",
    "Throttle",
    "Throttled",
    "Timeout",
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
    ".policies.breaker": "CircuitBreaker State",
    ".policies.budget": "RetryBudget",
    ".policies.bulkhead": "Bulkhead",
    ".policies.cache": "RequestCache SingleFlight request_scope",
    ".policies.collapse": "collapse",
    ".policies.deadline": "carry deadline remaining",
    ".policies.failfast": "FailFast",
    ".policies.fallback": "Fallback",
    ".policies.hedge": "Hedge",
    ".policies.limiter": "AdaptiveLimit",
    ".policies.limits": "AIMD Gradient2 Vegas",
    ".policies.rate": "RateLimit",
    ".policies.retry": "Retry",
    ".policies.threadpool": "ThreadBulkhead",
    ".policies.throttle": "Throttle",
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
    return sorted({*globals(), *__all__})
