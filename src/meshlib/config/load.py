"""Loader: reads and checks a mesh.yaml and the endpoints files that it names; what stays as it was is taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..balancing import Endpoint
from ..balancing.subset import subset_or
from ..discovery.file_watch import Stamp, stamp
from .document import Document, parse_document, parse_documents, read_document
from .endpoint_files import NO_ENDPOINTS, copy_of, endpoints_of
from .errors import first_error
from .loaded import Loaded, check_names, static_endpoints
from .manifests import amount_to, is_manifest
from .models import ClusterModel, MeshModel
from .node import FileFinding


def load(path: Path, seen: dict[Path, Stamp] | None = None, before: Loaded | None = None) -> Loaded:
    """Read and check a mesh.yaml and the endpoints files that it names. Raises `ConfigError`.

    `seen` is filled with each file's stamp from just before it was read, so that no later edit goes unnoticed. What is
    written as it was `before` is taken over, not checked and built again: most changes of a large file are small.
    """
    seen = {} if seen is None else seen
    seen[path] = stamp(path)
    return load_document(read_document(path), path.parent, seen, before)


def load_text(
    text: str,
    name: str,
    before: Loaded | None = None,
    report: Callable[[FileFinding], object] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Read and check a text that lives in no file of its own: a mesh.yaml, or manifests of other meshes.

    Relative paths in it start at `folder` (None: the process's folder now). `report` is called with each finding: a key
    that has no effect in a client. Raises `ConfigError`.
    """
    folder = folder or Path.cwd()
    if not is_manifest(text):
        return load_document(parse_document(text, name), folder, {}, before)
    found = [(document, folder) for document in parse_documents(text, name) if document.data is not None]
    manifests = amount_to(found, {}, home=folder)
    if report is not None:
        for finding in manifests.report:
            report(finding)
    return manifests.loaded


def check_text(document: Document, before: Loaded | None = None) -> MeshModel:
    """The model of a text, checked by itself alone. Raises `ConfigError`."""
    data = document.data
    if data is None:
        raise document.error((), "says nothing: expected services and clusters; write `services: {}` if there are none")
    if not isinstance(data, dict):
        raise document.error((), f"expected services and clusters, found {type(data).__name__}")
    if "apiVersion" in data or "routers" in data:
        raise document.error((), "expected services and clusters, found a manifest of another mesh")
    try:
        model = MeshModel.model_validate(data if before is None else _with_known(data, before))
    except ValidationError as error:
        raise first_error(document, error, model=MeshModel) from None
    check_names(document, model, before)
    return model


def _with_known(data: dict[str, Any], before: Loaded) -> dict[str, Any]:
    """The data with the models of before in it, where the text is the same."""
    found = dict(data)
    for section, models in (("services", before.model.services), ("clusters", before.model.clusters)):
        now, then = data.get(section), (before.document.data or {}).get(section)
        if isinstance(now, dict) and isinstance(then, dict):
            found[section] = {
                name: models[name] if name in models and then.get(name) == value else value
                for name, value in now.items()
            }
    return found


def load_document(document: Document, folder: Path, seen: dict[Path, Stamp], before: Loaded | None = None) -> Loaded:
    """The same for a text that was read already; endpoints files are looked for in `folder`."""
    model = check_text(document, before)
    files = Files(folder, seen)
    endpoints = {name: files.endpoints(document, name, model.clusters, before) for name in model.clusters}
    return Loaded(document, model, endpoints)


class Files:
    """The endpoints files of one reading: each is read once, for however many clusters."""

    def __init__(self, folder: Path, seen: dict[Path, Stamp]) -> None:
        self._folder = folder
        self._seen = seen
        self._read: dict[Path, Document] = {}

    def endpoints(
        self, document: Document, name: str, clusters: Mapping[str, ClusterModel], before: Loaded | None
    ) -> Sequence[Endpoint]:
        """The endpoints of a cluster: the very list of `before` if none was added, removed or changed."""
        cluster = clusters[name]
        origin = cluster.endpoints_from
        if before is not None and origin is None and before.same(name, cluster):
            return before.endpoints[name]
        known = NO_ENDPOINTS if before is None else before.known(name)
        if origin is None:
            found = static_endpoints(document, name, cluster, known)
        elif origin.cluster is not None:
            every = self.endpoints(document, origin.cluster, clusters, before)
            found = [copy_of(one, known) for one in subset_or(every, origin.labels, origin.fallback)]
        else:
            listed = endpoints_of(self._document(self._folder / str(origin.file)), known)
            found = list(subset_or(listed, origin.labels, origin.fallback))
        then = before.endpoints.get(name) if before is not None else None
        # Endpoints are themselves and nothing else: equal lists are lists of the same objects.
        return then if then is not None and then == found else found

    def _document(self, file: Path) -> Document:
        if file not in self._read:
            self._seen[file] = stamp(file)
            self._read[file] = read_document(file)
        return self._read[file]
