"""Document types: a mesh.yaml in code, as typed dictionaries. Written by `python tools/mesh_document.py`."""

# fmt: off
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Required, TypedDict


class AccrualDocument(TypedDict, total=False):
    """When one endpoint is ejected, and how it is probed (see docs/balancing.md): arguments of `ClusterHealth`."""

    consecutive_failures: int
    failure_share: str | float
    minimum_calls: int
    backoff: Sequence[str | float]


class AdaptiveLimitDocument(TypedDict, total=False):
    by: Literal["gradient2", "vegas", "aimd"]
    initial: int
    min_limit: int
    max_limit: int
    max_queue: int | None
    max_wait: str | float | None


class ArmDocument(TypedDict, total=False):
    """What is done to the requests that go to one cluster of the split, and to their answers."""

    request_headers: HeaderEditDocument | None
    response_headers: HeaderEditDocument | None


class BalancerDocument(TypedDict, total=False):
    """The kind, by its name in docs/balancing.md, and the settings of its constructor."""

    kind: Literal["default", "round_robin", "random", "least_loaded", "least_loaded_scan", "least_request", "peak_ewma", "ring_hash", "maglev", "aperture", "prequal", "reported_weights", "pick_first"]
    slow_start: str | float | None
    aggression: float | None
    overprovisioning: float | None
    zone: str | None
    callers: Mapping[str, str | float] | None
    zone_weights: Mapping[str, float] | None
    min_cluster_size: int | None
    rate: float | None
    reports: bool | None
    decay: str | float | None
    deviations: float | None
    slack: str | float | None
    recheck: str | float | None
    choices: int | None
    active_request_bias: float | None
    min_size: int | None
    max_size: int | None
    bound: float | None
    size: int | None
    pool_size: int | None
    peers: int | None
    peer_index: int | None
    min_aperture: int | None
    low_load: float | None
    high_load: float | None
    window: str | float | None
    removals: int | None
    delta: float | None
    max_age: str | float | None
    hot_quantile: str | float | None
    blackout: str | float | None
    expiration: str | float | None
    update_period: str | float | None
    penalty: str | float | None
    error_penalty: float | None
    shuffle: bool | None


class BreakerDocument(TypedDict, total=False):
    """The arguments of `CircuitBreaker`, with those of its trips beside them."""

    consecutive_failures: int | None
    failure_rate: str | float | None
    slow_call_rate: str | float | None
    slow_call: str | float
    window: str | float | None
    window_calls: int | None
    minimum_calls: int
    cooldown: str | float | CooldownDocument
    probes: int | ProbesDocument


class BudgetDocument(TypedDict, total=False):
    ratio: str | float
    min_per_second: float
    ttl: str | float


class BulkheadDocument(TypedDict, total=False):
    max_concurrent: int
    max_queue: int | None
    max_wait: str | float | None


class ClusterDocument(TypedDict, total=False):
    endpoints: Sequence[EndpointDocument | str]
    endpoints_from: EndpointsFromDocument | None
    balancer: Literal["default", "round_robin", "random", "least_loaded", "least_loaded_scan", "least_request", "peak_ewma", "ring_hash", "maglev", "aperture", "prequal", "reported_weights", "pick_first"] | BalancerDocument
    sticky: KeyDocument | StickyDocument | None
    panic: str | float
    breaker: Literal[False] | Literal["off"] | BreakerDocument | None
    throttle: Literal[False] | Literal["off"] | ThrottleDocument | None
    rate_limit: Literal[False] | Literal["off"] | RateLimitDocument | None
    adaptive_limit: Literal[False] | Literal["off"] | AdaptiveLimitDocument | None
    bulkhead: Literal[False] | Literal["off"] | BulkheadDocument | None
    limits: Literal[False] | Literal["off"] | LimitsDocument | None
    accrual: Literal[False] | Literal["off"] | AccrualDocument | UnifiedDocument | None
    outlier: Literal[False] | Literal["off"] | Literal[True] | Literal["on"] | OutlierDocument | None
    health_check: Literal[False] | Literal["off"] | HealthCheckDocument | None
    tls: bool
    tls_name: str | None
    max_connection_duration: str | float | None


class CooldownDocument(TypedDict, total=False):
    """The fields of `Cooldown`. Written as a time alone, that is its `seconds`."""

    seconds: str | float
    factor: float
    max_cooldown: str | float
    jitter: str | float


class DtabDocument(TypedDict, total=False):
    """Linkerd's names, for hosts that no service takes. `policies` are those of every call that goes by them. `names` are those that have their own; of several that fit the last counts."""

    entries: str
    namers: Sequence[NamerDocument]
    identifiers: Sequence[IdentifierDocument]
    override: bool
    trust_context: bool
    policies: ServiceDocument
    names: Sequence[NamePoliciesDocument]


class EgressDocument(TypedDict, total=False):
    """Hosts that no service takes. `hosts` (names and wildcards) go straight out, though they were services before; the others by the rules, or where there are none as `otherwise` says: left out, they are refused."""

    hosts: Sequence[str]
    routes: Sequence[RouteDocument]
    split: str | Mapping[str, float]
    sticky: KeyDocument | StickyDocument | None
    timeout: str | float | None
    per_try_timeout: str | float | None
    retry: Literal[False] | Literal["off"] | RetryDocument | None
    budget: BudgetDocument
    hedge: Literal[False] | Literal["off"] | HedgeDocument | None
    otherwise: Literal["allow", "refuse"] | None


class EjectionTimeDocument(TypedDict, total=False):
    """How long an ejection lasts; see `EjectionTime`. `ejection_time: 30s` is short for `{base: 30s}`."""

    base: str | float
    max_time: str | float | None
    jitter: str | float


class EndpointDocument(TypedDict, total=False):
    address: Required[str]
    weight: float
    labels: Mapping[str, str]
    zone: str
    priority: int


class EndpointsFromDocument(TypedDict, total=False):
    """Endpoints that stand in a `file` of their own, or are those of another `cluster`; `labels` picks those that have all of these. Where none has: nobody (`none`), all (`any`), or those with other labels."""

    file: str | None
    cluster: str | None
    labels: Mapping[str, str]
    otherwise: Literal["none", "any"] | Mapping[str, str]


class FailurePercentageDocument(TypedDict, total=False):
    """Ejection by the share of failures; see `FailurePercentageEjection`."""

    threshold: str | float
    min_hosts: int
    min_requests: int


class FaultDocument(TypedDict, total=False):
    delay: str | float | None
    delay_ratio: str | float
    delay_header: str | None
    abort_status: int | None
    abort_grpc: int | None
    abort_ratio: str | float
    abort_header: str | None


class GrpcCheckDocument(TypedDict, total=False):
    service: str


class HeaderEditDocument(TypedDict, total=False):
    set: Mapping[str, str]
    add: Mapping[str, str]
    remove: Sequence[str]


class HealthCheckDocument(TypedDict, total=False):
    """One of `http`, `tcp` and `grpc`, and how often; see `HealthCheck`."""

    http: str | Literal[True] | Literal["on"] | HttpCheckDocument | None
    tcp: Literal[True] | None
    grpc: Literal[False] | Literal["off"] | Literal[True] | Literal["on"] | GrpcCheckDocument | None
    timeout: str | float
    interval: str | float
    healthy_threshold: int
    unhealthy_threshold: int
    jitter: float
    initial_jitter: str | float
    unhealthy_interval: str | float | None
    edge_interval: str | float | None
    initially: bool


class HedgeDocument(TypedDict, total=False):
    delay: str | float | None
    percentile: str | float | None
    max_extra_load: str | float
    max_hedges: int


class HttpCheckDocument(TypedDict, total=False):
    path: str
    host: str | None
    method: str
    statuses: Sequence[int]


class IdentifierDocument(TypedDict, total=False):
    by: Literal["header", "name_header", "path", "method_and_host", "static"]
    prefix: str
    header: str | None
    segments: int
    consume: bool
    uris: bool
    name: str


class KeyDocument(TypedDict, total=False):
    """What is hashed: one of the four, or `key: true` for the key that the caller gives. See `StickyKey`."""

    header: str | None
    cookie: str | None
    query: str | None
    label: str | None
    key: Literal[True] | None
    terminal: bool
    ttl: str | float | None
    path: str


class LimitsDocument(TypedDict, total=False):
    max_connections: int | None
    max_pending: int | None
    max_requests: int | None
    max_retries: int | None


class MatchDocument(TypedDict, total=False):
    path: str | PathDocument | None
    method: str | Sequence[str]
    host: str | float | bool | TextDocument | Sequence[str | TextDocument]
    scheme: str | Sequence[str]
    port: int | Sequence[int]
    headers: Mapping[str, str | float | bool | TextDocument]
    query: Mapping[str, str | float | bool | TextDocument]
    cookies: Mapping[str, str | float | bool | TextDocument]
    labels: Mapping[str, str | float | bool | TextDocument]
    env: str | None


class NamePoliciesDocument(TypedDict, total=False):
    """The policies of the names that `prefix` takes, such as `/svc/users` or `/svc/*/{any}`."""

    prefix: Required[str]
    policies: Required[ServiceDocument]


class NamerDocument(TypedDict, total=False):
    """What binds names below `prefix`: `clusters` by their names there (left out: all by their own), or a rewrite."""

    prefix: str
    clusters: Mapping[str, str] | None
    segments: int
    rewrite: RewriteNamerDocument | None


class OutlierDocument(TypedDict, total=False):
    """Ejection of the endpoints that are worse than the others of their cluster; see `OutlierDetection`."""

    consecutive_5xx: int
    consecutive_gateway: int
    consecutive_local: int
    interval: str | float
    ejection_time: str | float | EjectionTimeDocument
    max_ejected: str | float
    always_one: bool
    success_rate: SuccessRateDocument
    failure_percentage: FailurePercentageDocument
    split: bool
    a50: bool
    enforce: Sequence[str]


class PathDocument(TypedDict, total=False):
    exact: str | None
    prefix: str | None
    regex: str | None
    template: str | None
    ignore_case: bool
    segments: bool


class PipelineDocument(TypedDict, total=False):
    """The policies of a function under `@resilient(name)`, outermost first. What is left out is not there."""

    timeout: str | float | None
    per_try_timeout: str | float | None
    retry: Literal[False] | Literal["off"] | RetryDocument | None
    budget: BudgetDocument
    hedge: Literal[False] | Literal["off"] | HedgeDocument | None
    breaker: Literal[False] | Literal["off"] | BreakerDocument | None
    throttle: Literal[False] | Literal["off"] | ThrottleDocument | None
    rate_limit: Literal[False] | Literal["off"] | RateLimitDocument | None
    adaptive_limit: Literal[False] | Literal["off"] | AdaptiveLimitDocument | None
    bulkhead: Literal[False] | Literal["off"] | BulkheadDocument | None


class ProbesDocument(TypedDict, total=False):
    """The fields of `Probes`. Written as a number alone, that is its `calls`."""

    calls: int
    successes: int | None
    concurrency: int | None
    by_rate: bool
    lease: str | float | None
    max_duration: str | float | None
    then: Literal["open", "closed"]
    automatic: bool


class RateLimitDocument(TypedDict, total=False):
    limit: Required[float]
    per: str | float
    burst: float | None
    max_wait: str | float


class RedirectDocument(TypedDict, total=False):
    status: int
    scheme: str | None
    host: str | None
    port: int | None
    path: str | None
    prefix: str | None
    strip_query: bool


class RespondDocument(TypedDict, total=False):
    status: int
    body: str
    headers: Mapping[str, str]


class RetryDocument(TypedDict, total=False):
    attempts: int
    statuses: Sequence[int]
    backoff: str | float
    max_backoff: str | float
    max_retry_after: str | float


class RewriteDocument(TypedDict, total=False):
    host: str | None
    path: str | None
    prefix: str | None
    regex: str | None


class RewriteNamerDocument(TypedDict, total=False):
    pattern: Required[str]
    name: Required[str]


class RolloutDocument(TypedDict, total=False):
    """Written by a running rollout, not by people: who shifts a service, and until when (seconds since 1970)."""

    to: Required[str]
    by: Required[str]
    until: Required[float]


class RouteDocument(TypedDict, total=False):
    name: str
    match: MatchDocument | Sequence[MatchDocument]
    split: str | Mapping[str, float]
    sticky: KeyDocument | StickyDocument | None
    arms: Mapping[str, ArmDocument]
    redirect: RedirectDocument | None
    respond: RespondDocument | None
    outside: bool
    rewrite: RewriteDocument | None
    request_headers: HeaderEditDocument | None
    response_headers: HeaderEditDocument | None
    mirror: Mapping[str, str | float]
    fault: FaultDocument | None
    timeout: str | float | None
    per_try_timeout: str | float | None
    retry: Literal[False] | Literal["off"] | RetryDocument | None
    policies: str | None


class ServiceDocument(TypedDict, total=False):
    hosts: Sequence[str]
    routes: Sequence[RouteDocument]
    split: str | Mapping[str, float]
    sticky: KeyDocument | StickyDocument | None
    timeout: str | float | None
    per_try_timeout: str | float | None
    retry: Literal[False] | Literal["off"] | RetryDocument | None
    budget: BudgetDocument
    hedge: Literal[False] | Literal["off"] | HedgeDocument | None


class StickyDocument(TypedDict, total=False):
    by: Required[KeyDocument | Sequence[KeyDocument]]
    method: Literal["stable", "modulo"]


class SuccessRateDocument(TypedDict, total=False):
    """Ejection by a success rate far below the cluster's mean; see `SuccessRateEjection`."""

    stdev_factor: float
    min_hosts: int
    min_requests: int


class TextDocument(TypedDict, total=False):
    exact: str | None
    prefix: str | None
    suffix: str | None
    contains: str | None
    regex: str | None
    present: bool | None
    ignore_case: bool
    invert: bool


class ThrottleDocument(TypedDict, total=False):
    k: float
    window: str | float
    minimum_calls: int


class UnifiedDocument(TypedDict, total=False):
    """Linkerd 2's accrual: failures in a row, or too small a success rate, in which a 429 counts."""

    kind: Required[Literal["unified"]]
    consecutive_failures: int
    success_rate: str | float
    window: str | float
    minimum_calls: int
    backoff: Sequence[str | float]


class MeshDocument(TypedDict, total=False):
    """A mesh.yaml: services, clusters, pipelines, egress, dtab and labels."""

    services: Mapping[str, ServiceDocument]
    clusters: Mapping[str, ClusterDocument]
    pipelines: Mapping[str, PipelineDocument]
    rollouts: Mapping[str, RolloutDocument]
    egress: Sequence[str] | EgressDocument | Literal["allow", "refuse"]
    dtab: DtabDocument | None
    labels: Mapping[str, str]
