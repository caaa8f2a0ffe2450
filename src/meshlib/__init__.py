"""The service mesh that you import: resilience, balancing and routing inside your own process.

from meshlib import Mesh, MeshClient, circuit_breaker

mesh = Mesh.from_file("mesh.yaml")
async with MeshClient(mesh=mesh) as client:
    response = await client.get("http://users/v1/me")
"""

from typing import TYPE_CHECKING, Any

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
from .mesh import Cluster, Mesh, Service, Snapshot
from .pipeline import Pipeline, PolicyOrderWarning
from .policies.breaker import CircuitBreaker, State
from .policies.budget import RetryBudget
from .policies.bulkhead import Bulkhead
from .policies.fallback import Fallback
from .policies.retry import Retry
from .policies.timeout import Timeout
from .policies.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate

if TYPE_CHECKING:
    from .http.client import MeshClient, SyncMeshClient

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


def __getattr__(name: str) -> Any:
    # httpx is loaded when its clients are asked for: an application may want to call `httpx2.alias_httpx()` first,
    # and one that only guards functions never needs it.
    if name in ("MeshClient", "SyncMeshClient"):
        from .http import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
