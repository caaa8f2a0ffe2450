"""Balancing models: what mesh.yaml may set for the balancer, outlier detection and health checks.

A setting that is left out of `balancer` keeps the default of the constructor of that kind.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .values import Model, Ratio, Seconds

EVERY = ("slow_start", "aggression", "overprovisioning", "zone", "callers", "zone_weights", "min_cluster_size")
OWN: dict[str, tuple[str, ...]] = {
    "default": ("choices", "decay", "deviations", "penalty", "rate", "recheck", "reports", "slack"),
    "peak_ewma": ("decay",),
    "least_request": ("choices", "active_request_bias"),
    "ring_hash": ("min_size", "max_size", "bound"),
    "maglev": ("size", "bound"),
    "aperture": ("peers", "peer_index", "min_aperture", "low_load", "high_load", "window"),
    "prequal": ("rate", "removals", "delta", "pool_size", "max_age", "hot_quantile"),
    "reported_weights": ("blackout", "expiration", "update_period", "error_penalty"),
    "pick_first": ("shuffle",),
}


class BalancerModel(Model):
    """The kind, by its name in docs/balancing.md, and the settings of its constructor."""

    kind: str = "default"
    # of every kind
    slow_start: Seconds | None = None
    aggression: float | None = None
    overprovisioning: float | None = None
    zone: str | None = None
    callers: dict[str, Ratio] | None = None
    zone_weights: dict[str, float] | None = None
    min_cluster_size: int | None = None
    # of some, see OWN
    rate: float | None = None
    reports: bool | None = None
    decay: Seconds | None = None
    deviations: float | None = None
    slack: Seconds | None = None
    recheck: Seconds | None = None
    choices: int | None = None
    active_request_bias: float | None = None
    min_size: int | None = None
    max_size: int | None = None
    bound: float | None = None
    size: int | None = None
    pool_size: int | None = None
    peers: int | None = None
    peer_index: int | None = None
    min_aperture: int | None = None
    low_load: float | None = None
    high_load: float | None = None
    window: Seconds | None = None
    removals: int | None = None
    delta: float | None = None
    max_age: Seconds | None = None
    hot_quantile: Ratio | None = None
    blackout: Seconds | None = None
    expiration: Seconds | None = None
    update_period: Seconds | None = None
    penalty: Seconds | None = None
    error_penalty: float | None = None
    shuffle: bool | None = None

    @model_validator(mode="after")
    def _its_own(self) -> BalancerModel:
        own = OWN.get(self.kind, ())
        for name in self.settings:
            if name not in EVERY and name not in own:
                raise ValueError(f"{name}: no setting of {self.kind}, which has {', '.join((*own, *EVERY))}")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What the constructor is to be given."""
        return self.model_dump(exclude={"kind"}, exclude_none=True)


def kind(value: Any) -> Any:
    """`balancer: ring_hash` is short for `balancer: {kind: ring_hash}`."""
    return {"kind": value} if isinstance(value, str) else value


class EjectionTimeModel(Model):
    """How long an ejection lasts; see `EjectionTime`. `ejection_time: 30s` is short for `{base: 30s}`."""

    base: Seconds = Field(30.0, gt=0)
    max_time: Seconds | None = Field(None, gt=0)
    jitter: Seconds = Field(0.0, ge=0)


class SuccessRateModel(Model):
    """Ejection by a success rate far below the cluster's mean; see `SuccessRateEjection`."""

    stdev_factor: float = Field(1.9, ge=0)
    min_hosts: int = Field(5, ge=1)
    min_requests: int = Field(100, ge=1)


class FailurePercentageModel(Model):
    """Ejection by the share of failures; see `FailurePercentageEjection`."""

    threshold: Ratio = Field(0.85, ge=0, le=1)
    min_hosts: int = Field(5, ge=1)
    min_requests: int = Field(50, ge=1)


def base(value: Any) -> Any:
    """`ejection_time: 30s` is short for `ejection_time: {base: 30s}`."""
    return value if isinstance(value, dict | EjectionTimeModel) else {"base": value}


class OutlierModel(Model):
    """Ejection of the endpoints that are worse than the others of their cluster; see `OutlierDetection`."""

    consecutive_5xx: int = Field(5, ge=0)
    consecutive_gateway: int = Field(5, ge=0)
    consecutive_local: int = Field(5, ge=0)
    interval: Seconds = Field(10.0, gt=0)
    ejection_time: Annotated[EjectionTimeModel, BeforeValidator(base)] = EjectionTimeModel()
    max_ejected: Ratio = Field(0.5, ge=0, le=1)
    always_one: bool = True
    success_rate: SuccessRateModel = SuccessRateModel()
    failure_percentage: FailurePercentageModel = FailurePercentageModel()
    split: bool = False
    a50: bool = False
    enforce: tuple[str, ...] = ("5xx", "local", "success_rate", "local_success_rate")


def on(value: Any) -> Any:
    """`outlier: on` is short for `outlier: {}`: the default settings."""
    return {} if value is True or value == "on" else None if value is False or value == "off" else value


class UnifiedModel(Model):
    """Linkerd 2's accrual: failures in a row, or too small a success rate, in which a 429 counts."""

    kind: Literal["unified"]
    consecutive_failures: int = Field(7, ge=0)
    success_rate: Ratio = Field(0.8, ge=0, le=1)
    window: Seconds = Field(10.0, gt=0)
    minimum_calls: int = Field(5, ge=1)
    backoff: tuple[Seconds, Seconds] = (1.0, 60.0)


class HttpCheckModel(Model):
    path: str = "/"
    host: str | None = None
    method: str = "GET"
    statuses: tuple[int, ...] = (200,)

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        if not path.startswith("/"):
            raise ValueError("expected a path that begins with /")
        return path


def _path(value: Any) -> Any:
    return {} if value is True or value == "on" else {"path": value} if isinstance(value, str) else value


class GrpcCheckModel(Model):
    service: str = ""


class HealthCheckModel(Model):
    """One of `http`, `tcp` and `grpc`, and how often; see `HealthCheck`."""

    http: Annotated[HttpCheckModel | None, BeforeValidator(_path)] = None
    tcp: Literal[True] | None = None
    grpc: Annotated[GrpcCheckModel | None, BeforeValidator(on)] = None
    timeout: Seconds = Field(1.0, gt=0)
    interval: Seconds = Field(10.0, gt=0)
    healthy_threshold: int = Field(2, ge=1)
    unhealthy_threshold: int = Field(3, ge=1)
    jitter: float = Field(0.1, ge=0)
    initial_jitter: Seconds = Field(1.0, ge=0)
    unhealthy_interval: Seconds | None = Field(None, gt=0)
    edge_interval: Seconds | None = Field(None, gt=0)
    initially: bool = True

    @model_validator(mode="after")
    def _one(self) -> HealthCheckModel:
        if sum(way is not None for way in (self.http, self.tcp, self.grpc)) != 1:
            raise ValueError("expected one of http, tcp and grpc")
        return self

    @property
    def rhythm(self) -> dict[str, Any]:
        """The settings of `HealthCheck`."""
        return self.model_dump(exclude={"http", "tcp", "grpc", "timeout"})
