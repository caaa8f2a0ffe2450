"""Loader: reads mesh.yaml, now and again. What makes no sense, or empties the mesh unsaid, is refused.

Then the last good picture stays.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from pydantic import ValidationError

from ..balancing import Endpoint
from ..balancing.subset import subset_or
from ..discovery.file_watch import AGAIN, FileWatch, Stamp, stamp
from ..errors import ConfigError
from ..events import ConfigRefused
from ..mesh import Mesh
from ..runtime import SYSTEM, Runtime
from .build import Builder
from .document import Document, parse_document, parse_documents, read_document
from .emptied import refuse_emptied
from .endpoint_files import NOBODY, copy_of, endpoints_of
from .errors import first_error
from .loaded import Loaded, check_names, static_endpoints
from .manifests import amount_to, anchored, are_manifests, is_manifest, read_manifests
from .models import ClusterModel, MeshModel
from .node import FileFinding

M = TypeVar("M", bound=Mesh)
_log = logging.getLogger("meshlib")


def mesh_from_file(
    kind: type[M], path: str | os.PathLike[str], *, watch: bool, runtime: Runtime, **manifests: Any
) -> M:
    """See `Mesh.from_file`."""
    file = Path(path)
    mesh = kind(name=file.stem, runtime=runtime)
    reader = MeshReader(mesh, path, **manifests)
    reader.load()
    if watch:
        watcher = FileWatch(reader.seen, reader.changed)
        mesh.on_close(watcher.close)
    return mesh


def load(path: Path, seen: dict[Path, Stamp] | None = None, before: Loaded | None = None) -> Loaded:
    """Read and check a mesh.yaml and the endpoints files that it names. Raises `ConfigError`.

    `seen` is filled with each file's stamp from just before it was read, so that no later edit goes unnoticed. What is
    written as it was `before` is taken over, not checked and built again: most changes of a large file are small.
    """
    seen = {} if seen is None else seen
    seen[path] = stamp(path)
    return load_document(read_document(path), path.parent, seen, before)


def _unheard(finding: FileFinding) -> None:
    """Of those who do not ask what does nothing here."""


def load_text(
    text: str,
    name: str,
    before: Loaded | None = None,
    said: Callable[[FileFinding], object] = _unheard,
    folder: Path | None = None,
) -> Loaded:
    """Read and check a text that lives in no file of its own: a mesh.yaml, or manifests of other meshes.

    Paths in it are meant from `folder` (None: that of the process now). `said` hears what does nothing here. Raises
    `ConfigError`.
    """
    folder = folder or Path.cwd()
    if not is_manifest(text):
        return load_document(parse_document(text, name), folder, {}, before)
    found = [(document, folder) for document in parse_documents(text, name) if document.data is not None]
    manifests = amount_to(found, {}, home=folder)
    for finding in manifests.report:
        said(finding)
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
        """Who is in a cluster. The very list of `before` if nobody came, went or changed."""
        cluster = clusters[name]
        origin = cluster.endpoints_from
        if before is not None and origin is None and before.same(name, cluster):
            return before.endpoints[name]
        known = NOBODY if before is None else before.known(name)
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


class MeshReader:
    """Keeps one mesh in step with its files: a mesh.yaml, or the `manifests` of somebody else's mesh."""

    def __init__(self, mesh: Mesh, path: str | os.PathLike[str], **manifests: Any) -> None:
        self._mesh = mesh
        self._name = str(path)
        file = anchored(path)  # a daemon may go to another folder
        self._read: Callable[[dict[Path, Stamp]], Loaded] = (
            ManifestReader(file, manifests).load
            if are_manifests(path)
            else lambda seen: load(file, seen, self._builder.loaded)
        )
        self._builder = Builder(mesh)
        self._seen: dict[Path, Stamp] = {}
        self._loading = Lock()

    def seen(self) -> dict[Path, Stamp]:
        """The files that the last reading looked at, good or bad, with their stamps from just before."""
        return self._seen

    def load(self) -> None:
        """Read everything and publish it. Raises `ConfigError`, and then nothing has changed."""
        with self._loading:
            seen: dict[Path, Stamp] = {}
            try:
                loaded = self._read(seen)
            finally:
                # A bad mesh.yaml names no endpoints files: those of the last good one are still looked at.
                self._seen = {path: stamp(path) for path in self._seen} | seen
            self._seen = seen
            show(self._mesh, self._builder, loaded)

    def reload(self) -> None:
        """`load`, but an error is told and swallowed: the last good picture stays."""
        attempt(self._mesh, self._name, self.load)

    def changed(self, sleep: Callable[[float], object] = SYSTEM.sleep) -> None:
        """`reload` for a watch. A file that was cut short or makes no sense may be half written: it is judged as it is
        after `AGAIN` seconds."""
        try:
            if not self._cut_short():
                return self.load()
        except Exception:
            pass  # the second look tells it, if it is still there
        sleep(AGAIN)
        return self.reload()

    def _cut_short(self) -> bool:
        """Whether a file is gone, or shorter than when it was read last."""
        lengths = [(then[1], stamp(path)) for path, then in self._seen.items() if then is not None]
        return any(now is None or now[1] < length for length, now in lengths)


class ManifestReader:
    """Reads manifests again and again, and logs each thing that does nothing here once."""

    def __init__(self, path: Path, how: dict[str, Any]) -> None:
        self._path = path
        self._how = {**how, "home": Path.cwd()}
        self._said: set[str] = set()

    def load(self, seen: dict[Path, Stamp]) -> Loaded:
        manifests = read_manifests([self._path], seen=seen, **self._how)
        for finding in manifests.report:
            if finding.message not in self._said:
                self._said.add(finding.message)
                _log.warning("%s", finding)
        return manifests.loaded


def show(mesh: Mesh, builder: Builder, loaded: Loaded) -> None:
    """Publish what was read. Raises `ConfigError` if it cannot be used, or would empty the mesh without saying so."""
    if builder.loaded is not None:
        refuse_emptied(builder.loaded, loaded)
    mesh.publish(lambda old: builder.snapshot(loaded))
    mesh.labels = dict(loaded.model.labels)
    builder.look_after()


def attempt(mesh: Mesh, what: str, change: Callable[[], None]) -> bool:
    """Try a change; what is wrong with it is logged and told, and the last good picture stays."""
    try:
        change()
    except Exception as error:  # whatever it is: a reader that dies would leave the mesh blind for ever
        log = _log.error if isinstance(error, ConfigError) else _log.exception
        log("%s: the change is refused, the last good configuration stays: %s", what, error)
        mesh.tell(ConfigRefused(mesh.name, error))
        return False
    return True


def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    """The mesh of a file, read once and offered to nobody: for commands. Raises `ConfigError`."""
    return mesh_from_file(Mesh, path, watch=False, runtime=SYSTEM)
