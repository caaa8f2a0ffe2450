"""From models to the objects that do the work. What has not changed is the same object as before.

So a reload keeps what the objects know: a breaker stays open, a budget stays spent, an endpoint stays ejected, as long
as their own lines in the file stay as they were. Nothing of pydantic survives this step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..balancing import NAMES, Endpoint, Ward, carry, make
from ..http.pipeline import service_pipeline
from ..mesh import Cluster, Mesh, Service, Snapshot
from ..policies._gate import Gate
from ..policies.breaker import CircuitBreaker
from ..policies.budget import RetryBudget
from ..policies.bulkhead import Bulkhead
from .document import Document
from .endpoints import endpoint
from .models import AccrualModel, ClusterModel, MeshModel, ServiceModel
from .routes import clusters_of, route_table


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that one reading of the files brought: the checked model, and each cluster's endpoints."""

    document: Document
    model: MeshModel
    endpoints: Mapping[str, Sequence[Endpoint]]


class Builder:
    """Builds one mesh's snapshots, one after the other; remembers what it built from what."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._clusters: dict[str, tuple[ClusterModel, Cluster]] = {}
        self._services: dict[str, tuple[ServiceModel, Service, RetryBudget]] = {}

    def snapshot(self, loaded: Loaded) -> Snapshot:
        """The picture that `loaded` describes."""
        clusters = {name: self._cluster(name, loaded) for name in loaded.model.clusters}
        services = {name: self._service(name, model) for name, model in loaded.model.services.items()}
        self._clusters = {name: (loaded.model.clusters[name], cluster) for name, cluster in clusters.items()}
        self._services = {name: (loaded.model.services[name], *built) for name, built in services.items()}
        return Snapshot(
            routes=route_table(loaded.document, loaded.model),
            services=MappingProxyType({name: service for name, (service, _) in services.items()}),
            clusters=MappingProxyType(clusters),
        )

    def _cluster(self, name: str, loaded: Loaded) -> Cluster:
        model = loaded.model.clusters[name]
        before, old = self._clusters.get(name, (None, None))
        known = old.balancer.endpoints if old is not None else ()
        endpoints = carry(known, loaded.endpoints[name])
        if old is not None and before is not None and _without_members(before) == _without_members(model):
            if endpoints != known:
                old.balancer.update(endpoints)
            return old
        ward = old.balancer.ward if old is not None and before and before.accrual == model.accrual else None
        if ward is None:
            ward = _ward(name, model.accrual)
            ward.port = self._mesh.port
        balancer = make(model.balancer, name, endpoints, ward=ward, panic=model.panic)
        gates = self._gates(loaded.document, name, before, old, model)
        return Cluster(name, balancer, gates, tls_name=model.tls_name, settings=model)

    def _gates(
        self, document: Document, name: str, before: ClusterModel | None, old: Cluster | None, model: ClusterModel
    ) -> list[Gate]:
        gates: list[Gate] = []
        kinds: tuple[tuple[str, Any], ...] = (("breaker", CircuitBreaker), ("bulkhead", Bulkhead))
        for field, kind in kinds:
            settings = getattr(model, field)
            if settings is None:
                continue
            same = before is not None and getattr(before, field) == settings
            gate = next((gate for gate in old.gates if isinstance(gate, kind)), None) if old and same else None
            if gate is None:
                try:
                    gate = kind(name=name, runtime=self._mesh.runtime, **settings.model_dump())
                except ValueError as error:  # what only the constructor can see: fields that contradict each other
                    raise document.error(("clusters", name, field), str(error)) from None
                gate.port = self._mesh.port
            gates.append(gate)
        return gates

    def _service(self, name: str, model: ServiceModel) -> tuple[Service, RetryBudget]:
        before, old, budget = self._services.get(name, (None, None, None))
        if old is not None and budget is not None and before == model:
            return old, budget
        if budget is None or before is None or before.budget != model.budget:
            budget = RetryBudget(name=name, **model.budget.model_dump())
        retry = model.retry
        pipeline = service_pipeline(
            name,
            self._mesh.runtime,
            timeout=model.timeout,
            per_try_timeout=model.per_try_timeout,
            budget=budget,
            rejections=len(set(clusters_of(model).values())) > 1,
            attempts=retry.attempts if retry is not None else 1,
            **({} if retry is None else retry.model_dump(exclude={"attempts", "statuses"})),
        )
        for policy in pipeline.policies:
            policy.port = self._mesh.port  # type: ignore[attr-defined]  # all of ours have one
        service = Service(
            name,
            pipeline,
            budget=budget,
            per_try_timeout=model.per_try_timeout,
            statuses=frozenset(retry.statuses if retry is not None else ()),
        )
        return service, budget


def check(document: Document, model: MeshModel) -> None:
    """What no single field can show: names that lead nowhere, splits without weight. Raises `ConfigError`."""
    for name, service in model.services.items():
        for place, cluster in clusters_of(service).items():
            if cluster not in model.clusters:
                expected = f"no such cluster; expected one of {_names(model.clusters)}"
                raise document.error(("services", name, *place), expected)
        if not service.split and not service.routes and name not in model.clusters:
            expected = f"no cluster of this name, and no split to others: {_names(model.clusters)}"
            raise document.error(("services", name), expected)
    for name, settings in model.clusters.items():
        if settings.balancer not in NAMES:
            expected = f"expected one of {', '.join(NAMES)}, found {settings.balancer!r}"
            raise document.error(("clusters", name, "balancer"), expected)


def static_endpoints(document: Document, name: str, model: ClusterModel) -> list[Endpoint]:
    """The endpoints that stand in the cluster itself. Raises `ConfigError`."""
    found = []
    for index, one in enumerate(model.endpoints):
        try:
            found.append(endpoint(one))
        except ValueError as error:
            raise document.error(("clusters", name, "endpoints", index), str(error)) from None
    return found


def _ward(name: str, model: AccrualModel | None) -> Ward:
    if model is None:
        return Ward(name, failures=0, volume=1 << 30)
    return Ward(
        name,
        failures=model.failures,
        failure_share=model.failure_share,
        volume=model.volume,
        backoff=model.backoff,
    )


def _without_members(model: ClusterModel) -> ClusterModel:
    return model.model_copy(update={"endpoints": (), "endpoints_from": None})


def _names(clusters: Mapping[str, object]) -> str:
    return ", ".join(clusters) or "(there are no clusters)"
