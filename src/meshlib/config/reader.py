"""Readers: keep a mesh in step with its files, or with a document given in code.

A change that is wrong, or that empties the mesh without saying so, is refused; then the last good snapshot stays.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from .. import forked
from ..discovery.file_watch import AGAIN, FileWatch, Stamp, stamp
from ..errors import ConfigError
from ..events import ConfigRefused
from ..mesh import Mesh
from ..runtime import SYSTEM
from .build import Builder
from .document import Document
from .emptied import refuse_emptied
from .load import load, load_document
from .loaded import Loaded
from .manifests import anchored, are_manifests, read_manifests
from .plain_data import data_document

Read: TypeAlias = Callable[[dict[Path, Stamp]], Loaded]
_log = logging.getLogger("meshlib")


class MeshReader:
    """Keeps one mesh in step with its files: a mesh.yaml, or `manifests` of another mesh."""

    def __init__(self, mesh: Mesh, path: str | os.PathLike[str], *, read: Read | None = None, **manifests: Any) -> None:
        self._mesh = mesh
        self.name: str = str(path)
        self.builder: Builder = Builder(mesh)
        self._read = read or self._reading(anchored(path), are_manifests(path), manifests)
        self._seen: dict[Path, Stamp] = {}
        self._loading = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        self._loading = Lock()  # what was half read is read again by the watch, or by the next `load`

    def _reading(self, file: Path, manifests: bool, options: dict[str, Any]) -> Read:
        """How `file` is read; anchored, because a daemon may change its folder."""
        if manifests:
            return ManifestReader(file, options).load
        return lambda seen: load(file, seen, self.builder.loaded)

    def seen(self) -> dict[Path, Stamp]:
        """The files that the last reading looked at, good or bad, with their stamps from just before."""
        return self._seen

    def load(self) -> None:
        """Read everything and publish it. Raises `ConfigError`, and then nothing has changed."""
        with self._loading:
            self._load()

    def _load(self) -> None:
        seen: dict[Path, Stamp] = {}
        try:
            loaded = self._read(seen)
        finally:
            # A bad mesh.yaml names no endpoints files: those of the last good one are still looked at.
            self._seen = {path: stamp(path) for path in self._seen} | seen
        self._seen = seen
        publish(self._mesh, self.builder, loaded)

    def reload(self) -> None:
        """`load`, but an error is reported and not raised: the last good snapshot stays."""
        try_reload(self._mesh, self.name, self.load)

    def changed(self, sleep: Callable[[float], object] = SYSTEM.sleep) -> None:
        """`reload` for a watch. A file that has become shorter or is invalid may be half written: it is read once more
        after `AGAIN` seconds."""
        try:
            if not self._cut_short():
                return self.load()
        except Exception:
            pass  # the second reading reports it, if it is still wrong
        sleep(AGAIN)
        return self.reload()

    def _cut_short(self) -> bool:
        """Whether a file is gone, or shorter than when it was read last."""
        lengths = [(then[1], stamp(path)) for path, then in self._seen.items() if then is not None]
        return any(now is None or now[1] < length for length, now in lengths)


class DocumentReader(MeshReader):
    """Keeps one mesh in step with a document given in code, and with the endpoints files that it names.

    `folder` is where relative paths start. With `watch`, endpoints files are watched.
    """

    def __init__(self, mesh: Mesh, folder: Path, *, watch: bool, builder: Builder | None = None) -> None:
        super().__init__(mesh, mesh.name, read=self._reread)
        self.builder: Builder = builder or self.builder
        self._folder = folder
        self._document: Document = data_document({})
        self._watch: FileWatch | None = None
        self._may_watch = watch
        mesh.on_close(self.close)

    def _reread(self, seen: dict[Path, Stamp]) -> Loaded:
        return load_document(self._document, self._folder, seen, self.builder.loaded)

    def update(self, data: object) -> None:
        """Publish what `data` describes. Raises `ConfigError`, and then nothing has changed."""
        document = data_document(data)
        with self._loading:
            before, seen = self._document, self._seen
            self._document = document
            try:
                self._load()
            except BaseException:
                self._document, self._seen = before, seen
                raise
            if self._seen and self._watch is None and self._may_watch:
                self._watch = FileWatch(self.seen, self.changed)

    def close(self) -> None:
        """Stop watching."""
        self._may_watch = False
        if self._watch is not None:
            self._watch.close()


class ManifestReader:
    """Reads manifests again and again, and logs each key without effect once."""

    def __init__(self, path: Path, how: dict[str, Any]) -> None:
        self._path = path
        self._how = {**how, "home": Path.cwd()}
        self._logged: set[str] = set()

    def load(self, seen: dict[Path, Stamp]) -> Loaded:
        manifests = read_manifests([self._path], seen=seen, **self._how)
        for finding in manifests.report:
            if finding.message not in self._logged:
                self._logged.add(finding.message)
                _log.warning("%s", finding)
        return manifests.loaded


def publish(mesh: Mesh, builder: Builder, loaded: Loaded) -> None:
    """Publish what was read. Raises `ConfigError` if it cannot be used, or empties the mesh without saying so."""
    if builder.loaded is not None:
        refuse_emptied(builder.loaded, loaded)
    mesh.publish(lambda old: builder.snapshot(loaded))
    mesh.labels = dict(loaded.model.labels)
    builder.look_after()


def try_reload(mesh: Mesh, name: str, reload: Callable[[], None]) -> bool:
    """Call `reload`. Its error is logged and emitted as `ConfigRefused`; then the last good snapshot stays."""
    try:
        reload()
    except Exception as error:  # of any kind: a reader that dies would leave the mesh without updates
        log = _log.error if isinstance(error, ConfigError) else _log.exception
        log("%s: change refused, the last good configuration stays: %s", name, error)
        mesh.tell(ConfigRefused(mesh.name, error))
        return False
    return True
