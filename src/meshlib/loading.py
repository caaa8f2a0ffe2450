"""Loading: where configuration and mesh meet, by file, document or store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from .config.reader import DocumentReader, MeshReader
from .config.store_reader import StoreReader
from .discovery.file_store import FileStore
from .discovery.file_watch import FileWatch
from .discovery.store import RouteStore
from .mesh import Mesh, Snapshot
from .named import offer
from .runtime import SYSTEM, Runtime

M = TypeVar("M", bound=Mesh)


def mesh_from_file(
    kind: type[M], path: str | os.PathLike[str], *, watch: bool, runtime: Runtime, **manifests: Any
) -> M:
    """See `Mesh.from_file`."""
    mesh = _read_once(kind, path, watch=watch, runtime=runtime, **manifests)
    offer(mesh)
    return mesh


def _read_once(kind: type[M], path: str | os.PathLike[str], *, watch: bool, runtime: Runtime, **manifests: Any) -> M:
    mesh = kind(name=Path(path).stem, runtime=runtime)
    reader = MeshReader(mesh, path, **manifests)
    reader.load()
    if watch:
        mesh.reader = reader
        mesh.on_close(FileWatch(reader.seen, reader.changed).close)
    else:
        mesh.reader = DocumentReader(mesh, Path.cwd(), watch=False, builder=reader.builder)
    return mesh


def mesh_from_dict(
    kind: type[M], document: object, *, name: str, folder: str | os.PathLike[str] | None, watch: bool, runtime: Runtime
) -> M:
    """See `Mesh.from_dict`."""
    mesh = kind(name=name, runtime=runtime)
    mesh.reader = reader = DocumentReader(mesh, Path.cwd() / (folder or ""), watch=watch)
    try:
        reader.update(document)
    except BaseException:
        mesh.close()
        raise
    offer(mesh)
    return mesh


def update_mesh(mesh: Mesh, document: object) -> Snapshot:
    """See `Mesh.update`."""
    reader = mesh.reader
    if reader is None:
        reader = mesh.reader = DocumentReader(mesh, Path.cwd(), watch=True)
    if not isinstance(reader, DocumentReader):
        raise RuntimeError(f"{mesh.name}: the configuration comes from {reader.name}; change it there")
    reader.update(document)
    return mesh.current


def mesh_from_store(
    kind: type[M], store: RouteStore, *, copy: str | os.PathLike[str] | None, wait: float, runtime: Runtime
) -> M:
    """See `Mesh.from_store`."""
    mesh = kind(name=store.name, runtime=runtime)
    mesh.reader = reader = StoreReader(mesh, store, None if copy is None else FileStore(copy))
    mesh.on_close(store.watch(reader.changed, reader.told))
    try:
        reader.start(wait)
    except BaseException:
        mesh.close()
        raise
    offer(mesh)
    return mesh


def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    """The mesh of a file, read once and not offered to `@resilient`: for commands. Raises `ConfigError`."""
    return _read_once(Mesh, path, watch=False, runtime=SYSTEM)
