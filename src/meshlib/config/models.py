"""Mesh models: what a mesh.yaml may say, one frozen model per section, with the names and defaults of the constructors.

services:
  users:                                  # http://users/…
    split: {users-v1: 90, users-v2: 10}   # clusters and weights; left out: the cluster of the same name
    timeout: 2s                           # for the whole call, all attempts and waits together
    per_try_timeout: 500ms
    retry: {attempts: 3}
    budget: {ratio: 20%}
clusters:
  users-v1:
    endpoints: [127.0.0.1:8001, {address: 127.0.0.1:8002, weight: 2}]
    breaker: {failure_rate: 50%, window: 10s, minimum_calls: 20, cooldown: 5s}
  users-v2:
    endpoints_from: {file: endpoints.yaml, labels: {version: v2}}
egress: allow                           # hosts that no service has; or refuse, {hosts: […]}, or rules: {routes: […]}
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from .balancing_models import BalancerModel, HealthCheckModel, OutlierModel, UnifiedModel, kind, on
from .policy_models import (
    AdaptiveLimitModel,
    BreakerModel,
    BudgetModel,
    BulkheadModel,
    HedgeModel,
    LimitsModel,
    RateLimitModel,
    RetryModel,
    ThrottleModel,
    check_order,
    off,
)
from .route_models import RouteModel, Split, Sticky
from .values import Model, Ratio, Seconds


class AccrualModel(Model):
    """When one endpoint is ejected, and how it is probed (see docs/balancing.md): arguments of `ClusterHealth`."""

    consecutive_failures: int = Field(5, ge=0)
    failure_share: Ratio = Field(0.5, gt=0, le=1)
    minimum_calls: int = Field(10, ge=1)
    backoff: tuple[Seconds, Seconds] = (0.25, 4.0)


def _accrual_kind(value: Any) -> str:
    unified = isinstance(value, UnifiedModel) or (isinstance(value, dict) and "kind" in value)
    return "UnifiedModel" if unified else "AccrualModel"


Accrual = Annotated[
    Annotated[AccrualModel, Tag("AccrualModel")] | Annotated[UnifiedModel, Tag("UnifiedModel")],
    Discriminator(_accrual_kind),
]


class EndpointModel(Model):
    address: str
    weight: float = Field(1.0, ge=0)
    labels: dict[str, str] = Field(default_factory=dict)
    zone: str = ""
    priority: int = Field(0, ge=0)


def _endpoint_kind(value: Any) -> str:
    """An address alone stays a text: ten thousand of them would be as many models."""
    return "AddressModel" if isinstance(value, str) else "EndpointModel"


Member = Annotated[
    Annotated[EndpointModel, Tag("EndpointModel")] | Annotated[str, Tag("AddressModel")],
    Discriminator(_endpoint_kind),
]


class EndpointsFrom(Model):
    """Endpoints that stand in a `file` of their own, or are those of another `cluster`; `labels` picks those that have
    all of these. Where none has: nobody (`none`), all (`any`), or those with other labels."""

    file: str | None = None
    cluster: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    otherwise: Literal["none", "any"] | dict[str, str] = "none"

    @model_validator(mode="after")
    def _one(self) -> EndpointsFrom:
        if (self.file is None) is (self.cluster is None):
            raise ValueError("expected one of file and cluster")
        return self

    @property
    def fallback(self) -> dict[str, str] | None:
        """The labels that count where nobody has the wanted ones; {}: anybody, None: nobody."""
        otherwise = self.otherwise
        return otherwise if isinstance(otherwise, dict) else {} if otherwise == "any" else None


class ClusterModel(Model):
    endpoints: tuple[Member, ...] = ()
    endpoints_from: EndpointsFrom | None = None
    balancer: Annotated[BalancerModel, BeforeValidator(kind)] = BalancerModel()
    sticky: Sticky | None = None  # what ring_hash and maglev hash
    panic: Ratio = Field(0.5, ge=0, le=1)
    breaker: Annotated[BreakerModel | None, BeforeValidator(off)] = BreakerModel()
    throttle: Annotated[ThrottleModel | None, BeforeValidator(off)] = None
    rate_limit: Annotated[RateLimitModel | None, BeforeValidator(off)] = None
    adaptive_limit: Annotated[AdaptiveLimitModel | None, BeforeValidator(off)] = None
    bulkhead: Annotated[BulkheadModel | None, BeforeValidator(off)] = None
    limits: Annotated[LimitsModel | None, BeforeValidator(off)] = None
    accrual: Annotated[Accrual | None, BeforeValidator(off)] = AccrualModel()
    outlier: Annotated[OutlierModel | None, BeforeValidator(on)] = None
    health_check: Annotated[HealthCheckModel | None, BeforeValidator(off)] = None
    tls: bool = False  # what callers send by http goes out by https
    tls_name: str | None = None
    max_connection_duration: Seconds | None = Field(None, gt=0)  # no connection is used again when it is older

    @model_validator(mode="after")
    def _one_origin(self) -> ClusterModel:
        if self.endpoints and self.endpoints_from is not None:
            raise ValueError("endpoints and endpoints_from: expected one of the two")
        return self


class ServiceModel(Model):
    hosts: tuple[str, ...] = ()
    routes: tuple[RouteModel, ...] = ()
    split: Split = Field(default_factory=dict)
    sticky: Sticky | None = None
    timeout: Seconds | None = Field(None, gt=0)
    per_try_timeout: Seconds | None = Field(None, gt=0)
    retry: Annotated[RetryModel | None, BeforeValidator(off)] = RetryModel()
    budget: BudgetModel = BudgetModel()
    hedge: Annotated[HedgeModel | None, BeforeValidator(off)] = None

    @model_validator(mode="after")
    def _longest(self) -> ServiceModel:
        check_order(self, "per_try_timeout", "timeout")
        return self


class EgressModel(ServiceModel):
    """Hosts that no service takes. `hosts` (names and wildcards) go straight out, though they were services before;
    the others by the rules, or where there are none as `otherwise` says: left out, they are refused."""

    otherwise: Literal["allow", "refuse"] | None = None

    @model_validator(mode="after")
    def _hosts_or_rules(self) -> EgressModel:
        if not self.hosts and not self.has_rules:
            raise ValueError("expected allow, refuse, hosts, or rules with routes or a split")
        if self.otherwise is not None and self.has_rules:
            raise ValueError(
                f"otherwise={self.otherwise!r}: expected with hosts alone, for rules decide about the others"
            )
        return self

    @property
    def has_rules(self) -> bool:
        return bool(self.routes or self.split)


def _hosts(value: Any) -> Any:
    """`egress: [api.example.com]` is short for `egress: {hosts: [api.example.com]}`."""
    return {"hosts": value} if isinstance(value, list) else value


def _egress_kind(value: Any) -> str:
    return "EgressModel" if isinstance(value, EgressModel | dict) else "WordModel"


Egress = Annotated[
    Annotated[EgressModel, Tag("EgressModel")] | Annotated[Literal["allow", "refuse"], Tag("WordModel")],
    Discriminator(_egress_kind),
    BeforeValidator(_hosts),
]


class PipelineModel(Model):
    """The policies of a function under `@resilient(name)`, outermost first. What is left out is not there."""

    timeout: Seconds | None = Field(None, gt=0)
    per_try_timeout: Seconds | None = Field(None, gt=0)
    retry: Annotated[RetryModel | None, BeforeValidator(off)] = None
    budget: BudgetModel = BudgetModel()
    hedge: Annotated[HedgeModel | None, BeforeValidator(off)] = None
    breaker: Annotated[BreakerModel | None, BeforeValidator(off)] = None
    throttle: Annotated[ThrottleModel | None, BeforeValidator(off)] = None
    rate_limit: Annotated[RateLimitModel | None, BeforeValidator(off)] = None
    adaptive_limit: Annotated[AdaptiveLimitModel | None, BeforeValidator(off)] = None
    bulkhead: Annotated[BulkheadModel | None, BeforeValidator(off)] = None

    @model_validator(mode="after")
    def _longest(self) -> PipelineModel:
        check_order(self, "per_try_timeout", "timeout")
        return self


class RolloutModel(Model):
    """Written by a running rollout, not by people: who shifts a service, and until when (seconds since 1970)."""

    to: str
    by: str
    until: float


class RewriteNamerModel(Model):
    pattern: str
    name: str


class NamerModel(Model):
    """What binds names below `prefix`: `clusters` by their names there (left out: all by their own), or a rewrite."""

    prefix: str = "/#/clusters"
    clusters: dict[str, str] | None = None
    segments: int = Field(1, ge=1)
    rewrite: RewriteNamerModel | None = None


class IdentifierModel(Model):
    by: Literal["header", "name_header", "path", "method_and_host", "static"] = "header"
    prefix: str = "/svc"
    header: str | None = None
    segments: int = Field(1, ge=1)
    consume: bool = False
    uris: bool = False
    name: str = "/"


class NamePolicies(Model):
    """The policies of the names that `prefix` takes, such as `/svc/users` or `/svc/*/{any}`."""

    prefix: str
    policies: ServiceModel


class DtabModel(Model):
    """Linkerd's names, for hosts that no service takes. `policies` are those of every call that goes by them.

    `names` are those that have their own; of several that fit the last counts.
    """

    entries: str = ""
    namers: tuple[NamerModel, ...] = (NamerModel(),)
    identifiers: tuple[IdentifierModel, ...] = (IdentifierModel(),)
    override: bool = False  # a request may bring its own entries in `l5d-dtab`
    trust_context: bool = False  # what callers send in `l5d-ctx-dtab` counts
    policies: ServiceModel = ServiceModel()
    names: tuple[NamePolicies, ...] = ()


class MeshModel(Model):
    """A mesh.yaml: services, clusters, pipelines, egress, dtab and labels."""

    services: dict[str, ServiceModel] = Field(default_factory=dict)
    clusters: dict[str, ClusterModel] = Field(default_factory=dict)
    pipelines: dict[str, PipelineModel] = Field(default_factory=dict)
    rollouts: dict[str, RolloutModel] = Field(default_factory=dict)
    egress: Egress = "allow"
    dtab: DtabModel | None = None
    labels: dict[str, str] = Field(default_factory=dict)
