"""The service mesh that you import: resilience, balancing and routing inside your own process.

from meshlib import Mesh, MeshClient, circuit_breaker

mesh = Mesh.from_file("mesh.yaml")
async with MeshClient(mesh=mesh) as client:
    response = await client.get("http://users/v1/me")
"""

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
from .http.client import MeshClient
from .mesh import Cluster, Mesh, Service, Snapshot
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
from .resilient import resilient

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
