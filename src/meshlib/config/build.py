"""Builder: from models to the objects that do the work. What has not changed is the same object as before.

So a reload keeps what the objects know: a breaker stays open, a budget stays spent, an endpoint stays ejected, as long
as their own lines in the file stay as they were. Nothing of pydantic survives this step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from ..balancing import Endpoint, carry_over
from ..balancing.outlier_detection import OutlierDetection
from ..errors import ConfigError
from ..http.engine.service_pipeline import service_pipeline
from ..http.health.health_checks import Checks
from ..http.health.health_thread import HealthThread
from ..mesh import Cluster, Mesh, Service, Snapshot
from ..pipeline import Pipeline
from ..policies.concurrency.cluster_limits import ClusterLimits
from ..policies.retry.budget import RetryBudget
from ..policies.shell.gate import Gate
from ..routing.table import ServiceRoutes as Rules
from .build_clusters import balancer, checks, health, layered, outlier
from .build_policies import Made, function_pipeline, gates
from .build_routes import NO_POLICIES, RoutePolicies, live_clusters, route_table, sticky
from .document import Document
from .loaded import Loaded, place_of, services_of
from .models import ClusterModel, PipelineModel, ServiceModel
from .policy_models import BudgetModel
from .route_models import RouteModel

Key: TypeAlias = tuple[str, str]  # a section of the file, and a name in it


@dataclass(slots=True)
class Built:
    """What was built from what. Replaced whole when a snapshot is finished, so that a bad edit leaves no trace."""

    clusters: dict[str, tuple[ClusterModel, Cluster]] = field(default_factory=dict)
    services: dict[str, tuple[ServiceModel, Service]] = field(default_factory=dict)
    pipelines: dict[str, tuple[PipelineModel, Pipeline]] = field(default_factory=dict)
    checks: dict[str, tuple[Any, Checks]] = field(default_factory=dict)
    gates: dict[Key, Made] = field(default_factory=dict)
    budgets: dict[Key, tuple[BudgetModel, RetryBudget]] = field(default_factory=dict)
    rules: dict[str, tuple[ServiceModel, RoutePolicies, Rules]] = field(default_factory=dict)


class Builder:
    """Builds one mesh's snapshots, one after the other."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._before = Built()
        self._now = Built()
        self._outliers: set[OutlierDetection] = set()
        self.loaded: Loaded | None = None
        """What the last picture was built from."""

    def snapshot(self, loaded: Loaded) -> Snapshot:
        """The picture that `loaded` describes. Raises `ConfigError`."""
        model = loaded.model
        self._now = now = Built()
        pipelines = {name: self._pipeline(name, loaded) for name in model.pipelines}
        models = services_of(model)
        services = {name: self._service(name, service, loaded.document) for name, service in models.items()}
        policies = self._route_policies(loaded.document, models, services)
        kept = self._kept_rules(models, policies)
        routes = route_table(loaded.document, model, policies, kept, names=services)
        clusters = {name: self._cluster(name, loaded) for name in model.clusters}
        now.pipelines = {name: (model.pipelines[name], pipeline) for name, pipeline in pipelines.items()}
        now.services = {name: (models[name], service) for name, service in services.items()}
        now.rules = {
            name: (models[name], policies.get(name, NO_POLICIES), rules) for name, rules in routes.services.items()
        }
        before, last = self._before, self.loaded
        for name, cluster in clusters.items():  # only now, when nothing can go wrong any more
            members = loaded.endpoints[name]
            known = before.clusters.get(name)
            if known is None or known[1] is not cluster:
                cluster.balancer.update(carry_over(cluster.balancer.endpoints, members))
            elif last is None or last.endpoints.get(name) is not members:
                clusters[name] = _with_members(cluster, members)
        now.clusters = {name: (model.clusters[name], cluster) for name, cluster in clusters.items()}
        self._before, self.loaded = now, loaded
        return Snapshot(
            routes=routes,
            services=MappingProxyType(services),
            clusters=MappingProxyType(clusters),
            pipelines=MappingProxyType(pipelines),
        )

    def look_after(self) -> None:
        """The picture is published: watch its endpoints, and none that were only in the one before."""
        now = self._mesh.runtime.now()
        clusters = {name: cluster for name, (_, cluster) in self._before.clusters.items()}
        outliers = {cluster.outlier for cluster in clusters.values() if cluster.outlier is not None}
        for one in self._outliers - outliers:
            one.dismiss(now)
        self._outliers = outliers
        for name, cluster in clusters.items():
            endpoints = cluster.balancer.endpoints
            if cluster.outlier is not None:
                cluster.outlier.update(endpoints)
            if name in self._before.checks:
                checked = self._before.checks[name][1]
                checked.outlier = cluster.outlier
                checked.update(endpoints, now)
        HealthThread.of(self._mesh).look_after(checked for _, checked in self._before.checks.values())

    def _check(self, name: str, model: ClusterModel) -> None:
        wanted = model.health_check, model.tls, model.tls_name
        kept = self._before.checks.get(name)
        if kept is not None and kept[0] == wanted:
            self._now.checks[name] = kept
        elif (made := checks(name, model)) is not None:
            self._now.checks[name] = wanted, made

    def _cluster(self, name: str, loaded: Loaded) -> Cluster:
        """The cluster as it was, or one with the same endpoints and new settings."""
        model = loaded.model.clusters[name]
        before, old = self._before.clusters.get(name, (None, None))
        guards = self._gates_of("clusters", name, model, loaded.document)
        self._check(name, model)
        known, coming = old.balancer.endpoints if old is not None else (), loaded.endpoints[name]
        unchanged = before is model or (before is not None and _without_members(before) == _without_members(model))
        if old is not None and unchanged and layered(known) == layered(coming):
            return old
        kept = old.balancer.health if old is not None and before and before.accrual == model.accrual else None
        if kept is None:
            with _at(loaded.document, "clusters", name, "accrual"):
                kept = health(name, model.accrual, self._mesh.runtime)
            kept.port = self._mesh.port
        limits = (
            old.limits if old is not None and before and before.limits == model.limits else self._limits(name, model)
        )
        same = old is not None and before is not None and before.outlier == model.outlier
        return Cluster(
            name,
            balancer(name, model, known, kept, coming=coming),
            guards,
            limits=limits,
            sticky=sticky(model.sticky),
            outlier=old.outlier if old is not None and same else outlier(model),
            tls=model.tls,
            tls_name=model.tls_name,
            max_connection_duration=model.max_connection_duration,
            settings=model,
        )

    def _limits(self, name: str, model: ClusterModel) -> ClusterLimits | None:
        if model.limits is None:
            return None
        limits = ClusterLimits(**model.limits.model_dump(), name=name, runtime=self._mesh.runtime)
        limits.send_events_to(self._mesh.port)
        return limits

    def _service(self, name: str, model: ServiceModel, document: Document) -> Service:
        before, old = self._before.services.get(name, (None, None))
        budget = self._budget("services", name, model.budget, document)
        if old is not None and before == model:
            return old
        with _at(document, *place_of(name)):
            return self._compiled(name, model, budget)

    def _route_policies(
        self, document: Document, models: Mapping[str, ServiceModel], services: Mapping[str, Service]
    ) -> dict[str, RoutePolicies]:
        """For the rules with policies of their own: the service as such a rule has it, under the service's budget."""
        found: dict[str, RoutePolicies] = {}
        for name, model in models.items():
            before, kept, _ = self._before.rules.get(name, (None, NO_POLICIES, None))
            same = before is model and self._before.services[name][1] is services[name]
            own: dict[int, Service] = {}
            for index, route in enumerate(model.routes):
                if route.policies is not None:
                    own[index] = services[route.policies]
                elif route.per_try_timeout is not None or route.retry is not None:
                    with _at(document, *place_of(name), "routes", index):
                        own[index] = kept[index] if same else self._for_rule(name, model, route, services[name].budget)
            if own:
                found[name] = own
        return found

    def _for_rule(self, name: str, model: ServiceModel, route: RouteModel, budget: RetryBudget | None) -> Service:
        given = ("timeout", "per_try_timeout", "retry")
        own = {field: getattr(route, field) for field in given if getattr(route, field) is not None}
        return self._compiled(name, model.model_copy(update=own), budget)

    def _kept_rules(
        self, models: Mapping[str, ServiceModel], policies: Mapping[str, RoutePolicies]
    ) -> dict[str, Rules]:
        """The compiled rules of services of which nothing has changed."""
        return {
            name: rules
            for name, (model, known, rules) in self._before.rules.items()
            if models.get(name) is model and policies.get(name, NO_POLICIES) == known
        }

    def _compiled(self, name: str, model: ServiceModel, budget: RetryBudget | None) -> Service:
        retry = model.retry
        pipeline = service_pipeline(
            name,
            self._mesh.runtime,
            timeout=model.timeout,
            per_try_timeout=model.per_try_timeout,
            budget=budget,
            hedge=None if model.hedge is None else model.hedge.model_dump(),
            rejections=len(live_clusters(model)) > 1,  # then routing may choose another
            attempts=retry.attempts if retry is not None else 1,
            **({} if retry is None else retry.model_dump(exclude={"attempts", "statuses"})),
        )
        self._tell(pipeline.policies)
        return Service(
            name,
            pipeline,
            budget=budget,
            per_try_timeout=model.per_try_timeout,
            statuses=frozenset(retry.statuses if retry is not None else ()),
        )

    def _pipeline(self, name: str, loaded: Loaded) -> Pipeline:
        model = loaded.model.pipelines[name]
        before, old = self._before.pipelines.get(name, (None, None))
        guards = self._gates_of("pipelines", name, model, loaded.document)
        budget = self._budget("pipelines", name, model.budget, loaded.document)
        if old is not None and before == model:
            return old
        with _at(loaded.document, "pipelines", name):
            pipeline = function_pipeline(name, model, guards, budget, self._mesh.runtime)
        self._tell(pipeline.policies)
        return pipeline

    def _gates_of(self, section: str, name: str, model: Any, document: Document) -> list[Gate]:
        def wrong(field: str, why: str) -> ConfigError:
            return document.error((section, name, field), why)

        key = section, name
        made = gates(model, name, self._mesh.runtime, self._before.gates.get(key, {}), wrong)
        self._now.gates[key] = made
        guards = [gate for _, gate in made.values()]
        self._tell(guards)
        return guards

    def _budget(self, section: str, name: str, model: BudgetModel, document: Document) -> RetryBudget:
        key = section, name
        kept = self._before.budgets.get(key)
        if kept is None or kept[0] != model:
            with _at(document, section, name, "budget"):
                kept = model, RetryBudget(name=name, **model.model_dump())
        self._now.budgets[key] = kept
        return kept[1]

    def _tell(self, policies: Iterable[Any]) -> None:
        """Have the policies tell their events through the mesh's port."""
        for policy in policies:
            policy.port = self._mesh.port


@contextmanager
def _at(document: Document, *place: str | int) -> Iterator[None]:
    """What a constructor refuses is an error at `place`: only it sees how two settings go together."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise document.error(place, str(error)) from None


def _with_members(cluster: Cluster, members: Sequence[Endpoint]) -> Cluster:
    """The same cluster with other endpoints. The one that callers see now stays as it is until the picture changes.

    Also where nobody came or went: a weight or a zone may have changed on the endpoint that stays.
    """
    balancer = copy(cluster.balancer)
    balancer.update(carry_over(balancer.endpoints, members))
    return Cluster(
        cluster.name,
        balancer,
        cluster.gates,
        limits=cluster.limits,
        sticky=cluster.sticky,
        outlier=cluster.outlier,
        tls=cluster.tls,
        tls_name=cluster.tls_name,
        max_connection_duration=cluster.max_connection_duration,
        settings=cluster.settings,
    )


def _without_members(model: ClusterModel) -> ClusterModel:
    return model.model_copy(update={"endpoints": (), "endpoints_from": None})
