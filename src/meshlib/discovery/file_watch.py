"""File watch: one thread that notices changes of all the files of a mesh, however they are written.

The folders are watched, not the files: an editor that writes a new file and renames it over the old one, a
Kubernetes ConfigMap that turns a symbolic link, and a file that appears later are all seen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import watchfiles

from .. import forked
from ..native import threads_are_greenlets

QUIET = 50  # milliseconds without a change before one is reported: writers need a moment
PAUSE = 0.25  # seconds between two looks where changes are not reported
AGAIN = 0.2  # seconds until a reader looks once more at a file that may be half written
_log = logging.getLogger("meshlib")


Stamp: TypeAlias = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes when the content does; None while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class FileWatch:
    """Calls `changed` in a thread of its own when the files of `seen()` are no longer what they were, until `close`.

    `seen` returns the files to watch, and their stamps from just before they were read; `changed` is expected
    to read again, and must not raise.
    """

    def __init__(self, seen: Callable[[], Mapping[Path, Stamp]], changed: Callable[[], None]) -> None:
        self._seen = seen
        self._changed = changed
        self._stop = threading.Event()
        self._warned = False
        self._changing = False  # `changed` is at work, or was when this process was forked off
        forked.register(self)
        self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="meshlib file watch", daemon=True)
        self._thread.start()

    def _after_fork(self) -> None:
        closed, self._stop = self._stop.is_set(), threading.Event()
        if closed:
            self._stop.set()

    def _resume(self) -> None:
        if not self._stop.is_set() and not threads_are_greenlets():  # greenlets go on in a child
            self._start()

    def close(self) -> None:
        """End the thread. Safe to call twice, and from the thread itself."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        if self._changing:
            self._change()
        while not self._stop.is_set():
            if threads_are_greenlets():  # a native wait would stop all greenlets
                self._stop.wait(PAUSE)
                self._look()
                continue
            try:
                self._watch()
            except Exception as error:  # no watches left in the system, a folder gone: a look now and then must do
                if not self._warned:
                    self._warned = True
                    _log.warning("file changes are not reported by the system, looking every %g s: %s", PAUSE, error)
                self._stop.wait(PAUSE)
                self._look()

    def _watch(self) -> None:
        """Until the folders are others than they were."""
        folders = self._folders()
        for _ in watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=QUIET * 4,
            step=QUIET,
            stop_event=self._stop,
            rust_timeout=250,
            yield_on_timeout=True,  # an edit from before the watching began is seen at the first time-out
            recursive=False,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            self._look()
            if self._folders() != folders:
                break

    def _look(self) -> None:
        seen = self._seen()
        if any(stamp(path) != then for path, then in seen.items()):
            self._change()

    def _change(self) -> None:
        self._changing = True
        try:
            self._changed()
        finally:
            self._changing = False

    def _folders(self) -> set[Path]:
        found: set[Path] = set()
        for path in self._seen():
            found.add(path.parent)
            found.add(path.resolve().parent)
        return {folder for folder in found if folder.is_dir()} or {Path()}
