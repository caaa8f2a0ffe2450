"""Manifests: reads the files of other meshes as they are, and makes one mesh of them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..balancing import Endpoint
from ..discovery.file_watch import Stamp, stamp
from ..errors import ConfigError
from ..mesh import Mesh
from ..runtime import SYSTEM, Runtime
from . import gateway_api, istio, istio_clusters, linkerd
from .build import Builder
from .build_routes import route_table
from .document import Document, read_documents
from .draft import Draft
from .endpoint_files import endpoint
from .errors import first_error
from .istio_retry import DEFAULT
from .loaded import Loaded, check_names
from .models import EndpointModel, MeshModel
from .node import ConfigReport, Node
from .plain_yaml import WHOLE

Addresses = Mapping[str, Iterable[Endpoint | str | Mapping[str, Any]]]
# What manifests are full of, and what no client would ever miss.
SILENT = {"Namespace", "Service", "ServiceAccount", "Deployment", "ConfigMap", "Secret", "Pod", "ReferenceGrant"}
_HINT = re.compile(r'^(?:apiVersion|routers)[ \t]*:|"(?:apiVersion|routers)"[ \t]*:', re.MULTILINE)
SERVERS = "belongs to proxies that receive traffic"
OTHERS = {
    "Gateway": SERVERS, "GatewayClass": SERVERS, "ListenerSet": SERVERS, "XListenerSet": SERVERS, "Sidecar": SERVERS,
    "EnvoyFilter": SERVERS, "PeerAuthentication": SERVERS, "AuthorizationPolicy": SERVERS,
    "RequestAuthentication": SERVERS, "WorkloadGroup": SERVERS, "Telemetry": SERVERS, "ProxyConfig": SERVERS,
    "TCPRoute": "is not HTTP", "UDPRoute": "is not HTTP", "TLSRoute": "is not HTTP",
    "BackendTLSPolicy": "certificates come with the client's own TLS context (verify=)",
}  # fmt: skip


@dataclass(slots=True)
class Manifests:
    """What was read: the mesh as a model with its endpoints, and the report of what does nothing here."""

    document: Document
    model: MeshModel
    endpoints: dict[str, Sequence[Endpoint]]
    report: ConfigReport
    seen: dict[Path, Stamp] = field(default_factory=dict)
    files: dict[Path, bool] = field(default_factory=dict)  # each file that was read: does it say anything?

    @property
    def loaded(self) -> Loaded:
        return Loaded(self.document, self.model, self.endpoints, self.files)

    def mesh(self, *, name: str = "mesh", runtime: Runtime = SYSTEM) -> Mesh:
        """A mesh of these manifests. It does not watch them; `Mesh.from_file` does."""
        mesh = Mesh(name=name, runtime=runtime)
        mesh.publish(lambda old: Builder(mesh).snapshot(self.loaded))
        return mesh


def files_of(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths, folders (their *.yaml, *.yml and *.json) and patterns mean. Raises `ConfigError`."""
    found: list[Path] = []
    for path in paths:
        text = os.fspath(path)
        if Path(text).is_dir():
            here = [one for kind in ("yaml", "yml", "json") for one in Path(text).glob(f"*.{kind}")]
        elif _is_pattern(text):
            here = [Path(one) for one in glob.glob(text, recursive=True)]  # noqa: PTH207 — it may begin with a root
        else:
            here = [Path(text)]
        if not here:
            raise ConfigError("(the whole file)", "no file is there", file=text)
        found += sorted(here)
    return list(dict.fromkeys(found))


def _folders(paths: Iterable[str | os.PathLike[str]]) -> set[Path]:
    """The folders in which files may appear."""
    whole = {Path(path) for path in paths if Path(path).is_dir()}
    return whole | {file.parent for path in paths if _is_pattern(os.fspath(path)) for file in files_of([path])}


def _is_pattern(text: str) -> bool:
    """Whether it stands for other files: what is there by this very name does not, whatever signs are in the name."""
    return glob.has_magic(text) and not Path(text).exists()


def anchored(path: str | os.PathLike[str]) -> Path:
    """The same path, or pattern, from the root, for a process that may change its folder. Links stay links."""
    text = os.fspath(path)
    if Path(text).is_absolute() or not _is_pattern(text):
        return Path(text).absolute()
    return Path(glob.escape(str(Path.cwd())), text)


def are_manifests(path: str | os.PathLike[str]) -> bool:
    """Whether this is more than a mesh.yaml: a pattern, a folder, or a file of another mesh's."""
    text = os.fspath(path)
    if Path(text).is_dir() or _is_pattern(text):
        return True
    try:
        if not is_manifest(Path(text).read_text(encoding="utf-8")):
            return False
        return any(_kind(document) != "" for document in read_documents(Path(text)))
    except (OSError, UnicodeDecodeError, ConfigError):
        return False


def read_manifests(
    paths: Iterable[str | os.PathLike[str]],
    *,
    strict: bool = False,
    endpoints: Addresses | None = None,
    namespace: str = "default",
    gateways: Iterable[str] = (),
    seen: dict[Path, Stamp] | None = None,
    home: Path | None = None,
) -> Manifests:
    """Read Istio's and the Gateway API's manifests, or a linkerd.yaml, from files. Raises `ConfigError`.

    With `strict`, whatever does nothing here is an error. `endpoints` says who is behind a host ("users", or
    "users.prod" in another namespace), with the labels that subsets pick by; hosts that neither this nor a ServiceEntry
    knows are asked for by their name. `namespace` is the caller's own, `gateways` are those that it stands in for.
    `home` is the folder of the process, where Linkerd looks for relative paths (None: what it is now).
    """
    paths, seen = list(paths), {} if seen is None else seen
    seen |= {folder: stamp(folder) for folder in _folders(paths)}  # a file that appears there is news
    files: dict[Path, bool] = {}

    def documents() -> Iterator[tuple[Document, Path]]:
        for path in files_of(paths):
            seen[path] = stamp(path)
            found = read_documents(path)
            files[path] = bool(found)
            yield from ((document, path.parent) for document in found)
        if not any(files.values()):
            raise ConfigError(WHOLE, "says nothing: expected manifests", file=os.fspath(paths[0]))

    how: dict[str, Any] = {"strict": strict, "endpoints": endpoints, "namespace": namespace, "gateways": gateways}
    found = amount_to(documents(), seen, home=home, **how)
    found.files = files
    return found


def is_manifest(text: str) -> bool:
    """Whether a text looks like a manifest of another mesh's. Reading YAML takes its time: nothing is parsed."""
    return _HINT.search(text) is not None


def amount_to(
    documents: Iterable[tuple[Document, Path]],
    seen: dict[Path, Stamp],
    *,
    strict: bool = False,
    endpoints: Addresses | None = None,
    namespace: str = "default",
    gateways: Iterable[str] = (),
    home: Path | None = None,
) -> Manifests:
    """The mesh of some documents, each with the folder that its relative paths are meant from. Raises `ConfigError`."""
    home = home or Path.cwd()
    report = ConfigReport()
    draft = Draft(report, namespace)
    known = istio_clusters.Known()
    routes: list[gateway_api.Candidate] = []
    found: dict[str, Sequence[Endpoint]] = {}
    items: list[Node] = []
    kinds: list[tuple[str, Node]] = []
    listeners: gateway_api.Listeners = {}
    gateways = list(gateways)
    given = {host: [_endpoint(one) for one in behind] for host, behind in (endpoints or {}).items()}
    for document, folder in documents:
        kind = _kind(document)
        item = Node(document, (), report)
        items.append(item)
        if kind == "linkerd":
            found |= linkerd.read(draft, item, (folder, home), seen, gateways, given)
        elif kind == "":
            raise document.error((), "expected a manifest with apiVersion and kind, or a linkerd.yaml")
        else:
            kinds.append((kind, item))
    for kind, item in kinds:
        _note_delegate(draft, item, kind, namespace)
    # Gateways first: routes ask what they listen for.
    for kind, item in sorted(kinds, key=lambda one: one[0] != "Gateway"):
        _read(draft, known, routes, item, kind, namespace, gateways, listeners)
    gateway_api.settle_gateway(draft, routes)
    found |= istio_clusters.settle(known, draft, given)
    for item in items:
        item.close()
    for service in draft.services.values():
        service.setdefault("retry", DEFAULT)
    if strict:
        report.refuse()
    whole = draft.document()
    try:
        model = MeshModel.model_validate(whole.data)
    except ValidationError as error:
        raise first_error(whole, error, model=MeshModel) from None
    check_names(whole, model)
    route_table(whole, model)
    return Manifests(whole, model, found, report, seen)


def _note_delegate(draft: Draft, item: Node, kind: str, home: str) -> None:
    """A VirtualService without hosts is there for others, wherever it stands."""
    spec, metadata = item.node("spec"), item.node("metadata")
    if kind == "VirtualService" and spec is not None and metadata is not None and "hosts" not in spec:
        draft.delegates[metadata.text("namespace") or home, metadata.text("name") or ""] = spec


def _read(
    draft: Draft,
    known: istio_clusters.Known,
    routes: list[gateway_api.Candidate],
    item: Node,
    kind: str,
    home: str,
    gateways: list[str],
    listeners: gateway_api.Listeners,
) -> None:
    item.ignore(["apiVersion", "kind", "metadata", "status"])
    metadata = item.node("metadata")
    namespace = home
    if metadata is not None:
        namespace = metadata.text("namespace") or home
        metadata.ignore(metadata.keys())
    is_listening = kind == "Gateway" and str(item.value("apiVersion")).startswith("gateway.networking.k8s.io/")
    if not is_listening and (kind in SILENT or kind in OTHERS):
        if kind in OTHERS:
            item.say(None, OTHERS[kind])
        item.ignore(item.keys())
        return
    readers: dict[str, Callable[[Node], object]] = {
        "VirtualService": lambda spec: istio.virtual_service(draft, item, spec, namespace, gateways),
        "DestinationRule": lambda spec: istio_clusters.destination_rule(known, draft, spec, namespace),
        "ServiceEntry": lambda spec: istio_clusters.service_entry(known, draft, spec, namespace),
        "WorkloadEntry": lambda spec: istio_clusters.workload_entry(known, spec),
        "Gateway": lambda spec: gateway_api.listeners(listeners, item, spec, namespace),
        "HTTPRoute": lambda spec: routes.extend(gateway_api.route(draft, item, spec, namespace, gateways, listeners)),
        "GRPCRoute": lambda spec: routes.extend(gateway_api.route(draft, item, spec, namespace, gateways, listeners)),
    }
    reader = readers.get(kind)
    spec = item.node("spec")
    if reader is None:
        item.say(None, "is not known here, and does nothing")
        item.ignore(item.keys())
    elif spec is None:
        raise item.error("spec", "missing")
    else:
        reader(spec)


def _kind(document: Document) -> str:
    """`kind` of a Kubernetes object, "linkerd" for a linkerd.yaml, "" for anything else."""
    data = document.data
    if not isinstance(data, Mapping):
        return ""
    if "apiVersion" in data and isinstance(data.get("kind"), str):
        return str(data["kind"])
    return "linkerd" if isinstance(data.get("routers"), list) else ""


def _endpoint(one: Endpoint | str | Mapping[str, Any]) -> Endpoint:
    if isinstance(one, Endpoint):
        return one
    return endpoint(EndpointModel.model_validate({"address": one} if isinstance(one, str) else one))
