"""Loaded configuration: the result of one reading, and the checks that need the whole of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..balancing import Endpoint
from ..http.engine.async_engine import ANY
from .build_clusters import check_cluster
from .build_routes import EGRESS, clusters_of
from .document import Document, Place
from .endpoint_files import NO_ENDPOINTS, endpoint
from .models import ClusterModel, EgressModel, MeshModel, ServiceModel


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that one reading of the files brought: the checked model, and each cluster's endpoints.

    `manifests` has each file of manifests that was read, and whether it says anything.
    """

    document: Document
    model: MeshModel
    endpoints: Mapping[str, Sequence[Endpoint]]
    manifests: Mapping[Path, bool] = field(default_factory=dict)

    def known(self, cluster: str) -> dict[str, Endpoint]:
        """The endpoints of a cluster by address."""
        return {endpoint.address: endpoint for endpoint in self.endpoints.get(cluster, ())}

    def same(self, cluster: str, model: ClusterModel) -> bool:
        """Is this the very model that was read then? Then all that follows from it is known to be good."""
        return self.model.clusters.get(cluster) is model


def services_of(model: MeshModel) -> dict[str, ServiceModel]:
    """The services by name, and among them those for hosts beyond the mesh: by rules, and by the dtab."""
    egress = {EGRESS: model.egress} if isinstance(model.egress, EgressModel) and model.egress.has_rules else {}
    named = {} if model.dtab is None else {ANY: model.dtab.policies}
    if model.dtab is not None:
        named |= {one.prefix: one.policies for one in model.dtab.names}
    return {**egress, **named, **model.services}


def place_of(service: str) -> Place:
    """Where the file speaks of a service."""
    return (EGRESS,) if service == EGRESS else ("dtab",) if service[:1] in (ANY, "/") else ("services", service)


def check_names(document: Document, model: MeshModel, before: Loaded | None = None) -> None:
    """What no single field can show: names that lead nowhere, splits without weight. Raises `ConfigError`.

    Clusters that were found good `before` are not looked at again.
    """
    for name, service in services_of(model).items():
        if model.dtab is not None and name not in model.services and service is not model.egress:
            continue  # its clusters are the namers' business
        beyond = service is model.egress
        base: Place = (EGRESS,) if beyond else ("services", name)
        for place, cluster in clusters_of(service).items():
            if cluster not in model.clusters:
                expected = f"no such cluster; expected one of {_names(model.clusters)}"
                raise document.error((*base, *place), expected)
        for index, route in enumerate(service.routes):
            if route.policies is not None and route.policies not in model.services:
                expected = f"no such service; expected one of {_names(model.services)}"
                raise document.error((*base, "routes", index, "policies"), expected)
        if beyond and EGRESS in model.services:
            raise document.error(("services", EGRESS), "this name is taken by the rules under egress")
        if not beyond and not service.split and not service.routes and name not in model.clusters:
            expected = f"no cluster of this name, and no split to others: {_names(model.clusters)}"
            raise document.error(("services", name), expected)
    for name, settings in model.clusters.items():
        origin = settings.endpoints_from.cluster if settings.endpoints_from is not None else None
        if origin is not None:
            other = model.clusters.get(origin)
            if other is None or (other.endpoints_from is not None and other.endpoints_from.cluster is not None):
                expected = f"expected a cluster with endpoints of its own, found {origin!r}"
                raise document.error(("clusters", name, "endpoints_from", "cluster"), expected)
        if before is None or not before.same(name, settings):
            check_cluster(document, name, settings)


def static_endpoints(
    document: Document, name: str, model: ClusterModel, known: Mapping[str, Endpoint] = NO_ENDPOINTS
) -> list[Endpoint]:
    """The endpoints that stand in the cluster itself; those of `known` that stay as they were. Raises `ConfigError`."""
    found = []
    for index, one in enumerate(model.endpoints):
        try:
            found.append(endpoint(one, known))
        except ValueError as error:
            raise document.error(("clusters", name, "endpoints", index), str(error)) from None
    return found


def _names(clusters: Mapping[str, object]) -> str:
    return ", ".join(clusters) or "(there are no clusters)"
