"""Draft: the mesh file that manifests amount to, as plain data with the origin of each piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .document import Document, Place, dotted
from .node import ConfigReport, FileFinding, Node

MANIFESTS = "manifests"  # where something stands that no single file says
CLUSTER_DOMAIN = ".svc.cluster.local"


class MergedDocument(Document):
    """A document that was put together from pieces of other files."""

    def __init__(self, data: Any, origins: Mapping[Place, tuple[str, int]]) -> None:
        super().__init__(MANIFESTS, data, {place: line for place, (_, line) in origins.items()})
        self.origins = origins

    def error(self, place: Place, expected: str) -> ConfigError:
        nearest = place
        while nearest and nearest not in self.origins:
            nearest = nearest[:-1]
        file, line = self.origins.get(nearest, (self.file, 1))
        return ConfigError(dotted(place), expected, file=file, line=line)


class Draft:
    """What the readers write into: services and clusters by name, as they would stand in a mesh.yaml."""

    def __init__(self, report: ConfigReport, namespace: str) -> None:
        self.report = report
        self.namespace = namespace
        self.services: dict[str, dict[str, Any]] = {}
        self.clusters: dict[str, dict[str, Any]] = {}
        self.egress: Any = "allow"
        self.delegates: dict[tuple[str, str], Node] = {}  # specs of VirtualServices without hosts, by namespace, name
        self.extra: dict[str, Any] = {}
        self.origins: dict[Place, tuple[str, int]] = {}
        self.wanted: dict[str, tuple[str, str | None, int | None]] = {}  # cluster → host, subset, port

    def comes_from(self, place: Place, node: Node) -> None:
        self.origins.setdefault(place, (node.document.file, node.line))

    def service(self, name: str, node: Node) -> dict[str, Any]:
        self.comes_from(("services", name), node)
        return self.services.setdefault(name, {"hosts": names_of(name, self.namespace)})

    def destination(self, host: str, subset: str | None, port: int | None) -> str:
        """The cluster for a destination, by the name that it has here."""
        name = cluster_name(host, subset, port)
        self.wanted.setdefault(name, (host, subset, port))
        self.clusters.setdefault(name, {})
        return name

    def missing_subset(self, name: str, host: str, subset: str) -> None:
        """Say that nobody defines a subset which a rule leads to."""
        file, line = self.origins.get(("services", host), (MANIFESTS, 1))
        message = f"{host}: no DestinationRule has the subset {subset!r}: cluster {name} has no endpoints"
        self.report.findings.append(FileFinding(file, line, "warning", message))

    def document(self) -> MergedDocument:
        data = {"services": self.services, "clusters": self.clusters, "egress": self.egress, **self.extra}
        return MergedDocument(data, self.origins)


def short(host: str, namespace: str, home: str) -> str:
    """The name of a host as it is known here: `reviews` at home, `reviews.prod` elsewhere, other hosts in full.

    A name without dots lies in `namespace`, that of the manifest.
    """
    host = host.lower().rstrip(".")
    if host.endswith(CLUSTER_DOMAIN):
        host = host.removesuffix(CLUSTER_DOMAIN)
        name, _, space = host.partition(".")
        return name if space in ("", home) else host
    if host.endswith(".svc"):
        return short(host + ".cluster.local", namespace, home)
    if host.endswith(f".{home}") and host.count(".") == 1:
        return host.partition(".")[0]
    return host if "." in host or "*" in host or namespace == home else f"{host}.{namespace}"


def names_of(name: str, home: str) -> list[str]:
    """All names by which callers may mean the service that is known here as `name`."""
    if "*" in name or name.count(".") > 1:
        return [name]
    service, _, namespace = name.partition(".")
    full = f"{service}.{namespace or home}"
    if namespace and "." in namespace:
        return [name]
    found = [] if namespace else [service]
    return [*found, full, f"{full}.svc", f"{full}{CLUSTER_DOMAIN}"]


def cluster_name(host: str, subset: str | None, port: int | None) -> str:
    """`reviews/v1`, `reviews:9080`, `reviews`."""
    return f"{host}{f':{port}' if port else ''}{f'/{subset}' if subset else ''}"
