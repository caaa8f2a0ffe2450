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
from .http.client import MeshClient, SyncMeshClient
from .mesh import Cluster, Mesh, Service, Snapshot
from .pipeline import Pipeline, PolicyOrderWarning
from .policies.breaker import CircuitBreaker, State
from .policies.budget import RetryBudget
from .policies.bulkhead import Bulkhead
from .policies.fallback import Fallback
from .policies.retry import Retry
from .policies.timeout import Timeout
from .policies.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate

__all__ = [
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
    "FailureCount",
    "FailureRate",
    "Fallback",
    "Mesh",
    "MeshClient",
    "MeshError",
    "NoEndpoint",
    "Pipeline",
    "PolicyOrderWarning",
    "RateLimited",
    "Rejected",
    "Retry",
    "RetryBudget",
    "Service",
    "SlowCallRate",
    "Snapshot",
    "State",
    "SyncMeshClient",
    "Throttled",
    "Timeout",
    "Verdict",
]
