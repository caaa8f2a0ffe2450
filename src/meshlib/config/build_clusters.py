"""Cluster builder: from a cluster's model to its balancer, cluster health, outlier detection and health checks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..balancing import NAMES, Balancer, ClusterHealth, Endpoint, make_balancer
from ..balancing.outlier_criteria import EjectionTime, FailurePercentageEjection, SuccessRateEjection
from ..balancing.outlier_detection import OutlierDetection
from ..balancing.priority import OVERPROVISIONING
from ..http.health.health_checks import CheckKind, Checks, GrpcCheck, HttpCheck, TcpCheck
from ..policies.breaker.accrual import UnifiedAccrual
from ..policies.retry.backoff_schedules import equal_jittered
from ..runtime import Runtime
from .balancing_models import HealthCheckModel, UnifiedModel
from .document import Document, Place
from .models import AccrualModel, ClusterModel


def check_cluster(document: Document, name: str, model: ClusterModel) -> None:
    """What only the constructors see. Raises `ConfigError`."""
    base: Place = ("clusters", name)
    if model.balancer.kind not in NAMES:
        expected = f"expected one of {', '.join(NAMES)}, found {model.balancer.kind!r}"
        raise document.error((*base, "balancer"), expected)
    try:
        make_balancer(model.balancer.kind, name, **model.balancer.settings)
    except ValueError as error:
        raise document.error((*base, "balancer"), str(error)) from None
    try:
        outlier(model)
    except ValueError as error:
        raise document.error((*base, "outlier"), str(error)) from None
    try:
        checks(name, model)
    except ImportError as error:
        raise document.error((*base, "health_check", "grpc"), str(error)) from None
    except ValueError as error:  # a path or host that no request can have
        raise document.error((*base, "health_check"), str(error)) from None
    if isinstance(model.accrual, UnifiedModel | AccrualModel):
        try:
            health(name, model.accrual)
        except ValueError as error:
            raise document.error((*base, "accrual"), str(error)) from None


def balancer(
    name: str, model: ClusterModel, known: Sequence[Endpoint], health: ClusterHealth, *, coming: Sequence[Endpoint]
) -> Balancer:
    """The balancer over the endpoints that are `known`; those that are `coming` will have priorities or not."""
    settings = model.balancer.settings
    if layered(coming):
        settings.setdefault("overprovisioning", OVERPROVISIONING)
    made = make_balancer(model.balancer.kind, name, health=health, panic=model.panic, **settings)
    made.update(known)  # only now: it is not for the endpoints of before to say whether priorities come into it
    return made


def layered(endpoints: Sequence[Endpoint]) -> bool:
    """Do priorities come into it?"""
    return any(endpoint.priority for endpoint in endpoints)


def health(name: str, model: AccrualModel | UnifiedModel | None, runtime: Runtime | None = None) -> ClusterHealth:
    """What the endpoints share, with the accrual that the file asks for."""
    if model is None:
        return ClusterHealth(name, consecutive_failures=0, minimum_calls=1 << 30)
    if isinstance(model, AccrualModel):
        return ClusterHealth(
            name,
            consecutive_failures=model.consecutive_failures,
            failure_share=model.failure_share,
            minimum_calls=model.minimum_calls,
            backoff=model.backoff,
        )
    settings = model.model_dump(exclude={"kind", "backoff"})
    random = (lambda: 0.0) if runtime is None else runtime.random
    backoff = partial(equal_jittered, *model.backoff, random)
    backoff()
    return ClusterHealth(name, accrual=lambda: UnifiedAccrual(backoff, **settings), max_backoff=model.backoff[1])


def outlier(model: ClusterModel) -> OutlierDetection | None:
    """Outlier detection as the file asks for it."""
    wanted = model.outlier
    if wanted is None:
        return None
    return OutlierDetection(
        ejection_time=EjectionTime(**wanted.ejection_time.model_dump()),
        success_rate=SuccessRateEjection(**wanted.success_rate.model_dump()),
        failure_percentage=FailurePercentageEjection(**wanted.failure_percentage.model_dump()),
        **wanted.model_dump(exclude={"ejection_time", "success_rate", "failure_percentage"}),
    )


def checks(name: str, model: ClusterModel) -> Checks | None:
    """The active health checks that the file asks for. Raises ImportError if what they need is not installed."""
    wanted = model.health_check
    return None if wanted is None else Checks(name, _way(name, wanted, model), **wanted.rhythm)


def _way(name: str, wanted: HealthCheckModel, model: ClusterModel) -> CheckKind:
    if wanted.http is not None:
        asked = wanted.http.model_dump() | {"host": wanted.http.host or name}
        return HttpCheck(**asked, timeout=wanted.timeout, tls=model.tls, tls_name=model.tls_name)
    if wanted.grpc is not None:
        return GrpcCheck(wanted.grpc.service, host=name, timeout=wanted.timeout, tls=model.tls, tls_name=model.tls_name)
    return TcpCheck(timeout=wanted.timeout)
