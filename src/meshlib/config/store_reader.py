"""Store reader: keeps a mesh in step with the text in a store; starts from the copy while the store is away."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from .. import forked
from ..discovery.file_store import FileStore
from ..discovery.process_status import ProcessStatus
from ..discovery.store import Entry, RouteStore, StoreAway
from ..events import SourceAway, SourceBack
from ..mesh import Mesh
from .build import Builder
from .load import load_text
from .node import FileFinding
from .reader import publish, try_reload

_log = logging.getLogger("meshlib")


class StoreReader:
    """Keeps one mesh in step with its store."""

    def __init__(self, mesh: Mesh, store: RouteStore, copy: FileStore | None) -> None:
        self.name: str = store.name
        self._mesh = mesh
        self._store = store
        self._copy = copy
        self._builder = Builder(mesh)
        self._folder = Path.cwd()  # a daemon may change its folder
        self._findings: set[str] = set()
        self._status = None if copy is None else ProcessStatus(copy.path, store=store.name, away=None, refused=None)
        if self._status is not None:
            mesh.on_close(self._status.close)
        self._loading = threading.Lock()
        self._first = threading.Event()
        self._error: Exception | None = None
        self._refusal: Exception | None = None
        self.problem: str | None = None  # what is wrong with the store now
        forked.register(self)

    def _after_fork(self) -> None:
        begun, self._first, self._loading = self._first.is_set(), threading.Event(), threading.Lock()
        if begun:
            self._first.set()

    def _resume(self) -> None:
        self._record()  # this process too is one that knows something

    def start(self, wait: float) -> None:
        """Wait for the first text, or begin with the copy. Raises `StoreAway`, `ConfigError`."""
        copied = self._copy.get() if self._copy is not None else None
        if not self._first.wait(0.5 if copied is not None else wait) and copied is not None:
            _log.warning("%s: %s; starting with the copy of %s", self._store.name, self.problem, self._copy)
            with self._loading:
                if not self._first.is_set():
                    self._publish(copied)
                    self._first.set()
                    self._record(revision=copied.revision, copied=True)
                    return
        if self._error is not None:
            raise self._error
        if not self._first.is_set():
            raise StoreAway(self.problem or f"{self._store.name}: there is no text in it")

    def changed(self, entry: Entry) -> None:
        """The store has a new text."""
        with self._loading:
            if self._first.is_set():
                good = try_reload(self._mesh, self._store.name, lambda: self._publish(entry))
            else:
                good = self._begin(entry)
        if not good:
            self._record(refused=str(self._refusal))
        else:
            self._record(revision=entry.revision, copied=False, refused=None)
        if good and self._copy is not None:
            try:
                self._copy.put(entry.text)
            except StoreAway as error:
                _log.warning("the copy could not be written: %s", error)

    def told(self, problem: str | None) -> None:
        """The store is away (`problem` says why), or back (None)."""
        if problem is not None and self.problem is None:
            _log.warning("%s; the last good configuration stays", problem)
        if problem == self.problem:
            return  # already reported
        self.problem = problem
        self._record(away=problem)
        name = self._store.name
        self._mesh.tell(SourceBack(name) if problem is None else SourceAway(name, problem))

    def _begin(self, entry: Entry) -> bool:
        try:
            self._publish(entry)
        except Exception as error:
            self._error = self._refusal = error
        self._first.set()
        return self._error is None

    def _publish(self, entry: Entry) -> None:
        try:
            name = f"{self._store.name}@{entry.revision}"
            loaded = load_text(entry.text, name, self._builder.loaded, self._log_finding, self._folder)
            publish(self._mesh, self._builder, loaded)
        except Exception as error:
            self._refusal = error
            raise

    def _log_finding(self, finding: FileFinding) -> None:
        if finding.message not in self._findings:
            self._findings.add(finding.message)
            _log.warning("%s", finding)

    def _record(self, **facts: Any) -> None:
        """Write it where `meshlib status` reads it."""
        if self._status is None:
            return
        try:
            self._status.update(snapshot=self._mesh.version, **facts)
        except OSError as error:
            _log.warning("the status of this process could not be written beside the copy: %s", error)
