"""What a mesh.yaml may say about each policy: the field names of its constructor, with the defaults of a mesh."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .values import Model, Ratio, Seconds

Status = Annotated[int, Field(ge=100, le=599)]


def off(value: Any) -> Any:
    """`breaker: false` (or `off`) is how people say none."""
    return None if value is False or value == "off" else value


def check_order(model: Model, field: str, bound: str) -> None:
    """Of two times or counts of `model` the first must not be above the second."""
    value, most = getattr(model, field), getattr(model, bound)
    if value is not None and most is not None and value > most:
        raise ValueError(f"{field}: expected at most {bound} ({_figure(most)}), found {_figure(value)}")


def _figure(value: float) -> str:
    """`1` for 1.0; whole numbers as they are, of which some are too large for a float."""
    return str(value) if isinstance(value, int) else f"{value:g}"


class CooldownModel(Model):
    """The fields of `Cooldown`. Written as a time alone, that is its `seconds`."""

    seconds: Seconds = Field(5.0, gt=0)
    factor: float = Field(1.5, ge=1)
    max_cooldown: Seconds = Field(60.0, gt=0)
    jitter: Ratio = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _bound(self) -> CooldownModel:
        if "max_cooldown" in self.model_fields_set:  # its default gives way to a longer cooldown
            check_order(self, "seconds", "max_cooldown")
        return self


class ProbesModel(Model):
    """The fields of `Probes`. Written as a number alone, that is its `calls`."""

    calls: int = Field(1, ge=1)
    successes: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    by_rate: bool = False
    lease: Seconds | None = Field(None, gt=0)
    max_duration: Seconds | None = Field(None, gt=0)
    then: Literal["open", "closed"] = "open"
    automatic: bool = False


def in_mapping(field: str, value: Any) -> Any:
    """A value alone is that of `field` in a mapping."""
    return value if isinstance(value, dict | Model) else {field: value}


def _alone(field: str) -> BeforeValidator:
    """`cooldown: 5s` for `cooldown: {seconds: 5s}`."""
    return BeforeValidator(partial(in_mapping, field))


class BreakerModel(Model):
    """The arguments of `CircuitBreaker`, with those of its trips beside them."""

    consecutive_failures: int | None = Field(None, ge=1)
    failure_rate: Ratio | None = Field(0.5, gt=0, le=1)
    slow_call_rate: Ratio | None = Field(None, gt=0, le=1)
    slow_call: Seconds = Field(60.0, gt=0)
    window: Seconds | None = Field(None, gt=0)
    window_calls: int | None = Field(None, ge=1)
    minimum_calls: int = Field(20, ge=1)
    cooldown: Annotated[CooldownModel, _alone("seconds")] = CooldownModel()
    probes: Annotated[ProbesModel, _alone("calls")] = ProbesModel()

    @model_validator(mode="after")
    def _window(self) -> BreakerModel:
        if self.failure_rate is None and self.slow_call_rate is None:
            for field in ("window", "window_calls"):
                if getattr(self, field) is not None:
                    raise ValueError(f"{field}: expected a failure_rate or a slow_call_rate over it")
        return self


class BulkheadModel(Model):
    max_concurrent: int = Field(100, ge=1)
    max_queue: int | None = Field(None, ge=0)
    max_wait: Seconds | None = Field(None, ge=0)


class LimitsModel(Model):
    max_connections: int | None = Field(None, ge=1)
    max_pending: int | None = Field(None, ge=0)
    max_requests: int | None = Field(None, ge=1)
    max_retries: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _pending(self) -> LimitsModel:
        if self.max_pending is not None and self.max_connections is None:
            raise ValueError("max_pending: expected max_connections beside it, or no request ever waits")
        return self


class RetryModel(Model):
    attempts: int = Field(3, ge=1)
    statuses: tuple[Status, ...] = (502, 503, 504)
    backoff: Seconds = Field(0.005, ge=0)
    max_backoff: Seconds = Field(0.2, ge=0)
    max_retry_after: Seconds = Field(10.0, ge=0)

    @model_validator(mode="after")
    def _longest(self) -> RetryModel:
        if "max_backoff" in self.model_fields_set:  # its default gives way to a longer backoff
            check_order(self, "backoff", "max_backoff")
        return self


class BudgetModel(Model):
    ratio: Ratio = Field(0.2, ge=0, le=1000)
    min_per_second: float = Field(10.0, ge=0)
    ttl: Seconds = Field(10.0, ge=1, le=60)


class HedgeModel(Model):
    delay: Seconds | None = Field(None, gt=0)
    percentile: Ratio | None = Field(None, gt=0, lt=1)
    max_extra_load: Ratio = Field(0.05, gt=0, le=1)
    max_hedges: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> HedgeModel:
        if self.delay is not None and self.percentile is not None:
            raise ValueError("delay, percentile: expected one of the two")
        return self


class RateLimitModel(Model):
    limit: float = Field(gt=0)
    per: Seconds = Field(1.0, gt=0)
    burst: float | None = Field(None, gt=0)
    max_wait: Seconds = Field(0.0, ge=0)


class ThrottleModel(Model):
    k: float = Field(2.0, ge=1)
    window: Seconds = Field(120.0, gt=0)
    minimum_calls: int = Field(10, ge=0)


class AdaptiveLimitModel(Model):
    by: Literal["gradient2", "vegas", "aimd"] = "gradient2"
    initial: int = Field(20, ge=1)
    min_limit: int = Field(20, ge=1)
    max_limit: int = Field(200, ge=1)
    max_queue: int | None = Field(None, ge=0)
    max_wait: Seconds | None = Field(5.0, ge=0)

    @model_validator(mode="after")
    def _bounds(self) -> AdaptiveLimitModel:
        for field in ("initial", "min_limit"):
            if field in self.model_fields_set:  # their defaults give way to a lower maximum
                check_order(self, field, "max_limit")
        if self.by == "vegas" and "min_limit" in self.model_fields_set:
            raise ValueError("min_limit: expected none, vegas has no lower bound but 1")
        return self
