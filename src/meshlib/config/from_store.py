"""A mesh whose text lives in a store, and what it starts with while the store is away."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any, TypeVar

from ..discovery.file_store import FileStore
from ..discovery.process_status import ProcessStatus
from ..discovery.store import Entry, RouteStore, StoreAway
from ..events import SourceAway, SourceBack
from ..mesh import Mesh
from ..runtime import Runtime
from .build import Builder
from .load import attempt, load_text, show
from .node import FileFinding

M = TypeVar("M", bound=Mesh)
_log = logging.getLogger("meshlib")


def mesh_from_store(
    kind: type[M], store: RouteStore, *, copy: str | os.PathLike[str] | None, wait: float, runtime: Runtime
) -> M:
    """See `Mesh.from_store`."""
    mesh = kind(name=store.name, runtime=runtime)
    reader = StoreReader(mesh, store, None if copy is None else FileStore(copy))
    mesh.on_close(store.watch(reader.changed, reader.told))
    try:
        reader.start(wait)
    except BaseException:
        mesh.close()
        raise
    return mesh


class StoreReader:
    """Keeps one mesh in step with its store."""

    def __init__(self, mesh: Mesh, store: RouteStore, copy: FileStore | None) -> None:
        self._mesh = mesh
        self._store = store
        self._copy = copy
        self._builder = Builder(mesh)
        self._folder = Path.cwd()  # a daemon may go to another one
        self._findings: set[str] = set()
        self._said = None if copy is None else ProcessStatus(copy.path, store=store.name, away=None, refused=None)
        if self._said is not None:
            mesh.on_close(self._said.close)
        self._loading = threading.Lock()
        self._first = threading.Event()
        self._error: Exception | None = None
        self._refusal: Exception | None = None
        self.problem: str | None = None  # what is wrong with the store now

    def start(self, wait: float) -> None:
        """Wait for the first text, or begin with the copy. Raises `StoreAway`, `ConfigError`."""
        copied = self._copy.get() if self._copy is not None else None
        if not self._first.wait(0.5 if copied is not None else wait) and copied is not None:
            _log.warning("%s: %s; starting with the copy of %s", self._store.name, self.problem, self._copy)
            with self._loading:
                if not self._first.is_set():
                    self._show(copied)
                    self._first.set()
                    self._tell(revision=copied.revision, copied=True)
                    return
        if self._error is not None:
            raise self._error
        if not self._first.is_set():
            raise StoreAway(self.problem or f"{self._store.name}: there is no text in it")

    def changed(self, entry: Entry) -> None:
        """A new text came."""
        with self._loading:
            if self._first.is_set():
                good = attempt(self._mesh, self._store.name, lambda: self._show(entry))
            else:
                good = self._begin(entry)
        if not good:
            self._tell(refused=str(self._refusal))
        else:
            self._tell(revision=entry.revision, copied=False, refused=None)
        if good and self._copy is not None:
            try:
                self._copy.put(entry.text)
            except StoreAway as error:
                _log.warning("the copy could not be written: %s", error)

    def told(self, problem: str | None) -> None:
        """The store is away, or (None) back."""
        if problem is not None and self.problem is None:
            _log.warning("%s; the last good configuration stays", problem)
        if problem == self.problem:
            return  # it has been told, and will be again only when something has changed
        self.problem = problem
        self._tell(away=problem)
        name = self._store.name
        self._mesh.tell(SourceBack(name) if problem is None else SourceAway(name, problem))

    def _begin(self, entry: Entry) -> bool:
        try:
            self._show(entry)
        except Exception as error:
            self._error = self._refusal = error
        self._first.set()
        return self._error is None

    def _show(self, entry: Entry) -> None:
        try:
            name = f"{self._store.name}@{entry.revision}"
            loaded = load_text(entry.text, name, self._builder.loaded, self._does_nothing, self._folder)
            show(self._mesh, self._builder, loaded)
        except Exception as error:
            self._refusal = error
            raise

    def _does_nothing(self, finding: FileFinding) -> None:
        if finding.message not in self._findings:
            self._findings.add(finding.message)
            _log.warning("%s", finding)

    def _tell(self, **facts: Any) -> None:
        """Say it to whoever asks by `meshlib status`."""
        if self._said is None:
            return
        try:
            self._said.tell(snapshot=self._mesh.version, **facts)
        except OSError as error:
            _log.warning("what this process knows could not be written beside the copy: %s", error)
