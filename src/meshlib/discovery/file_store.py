"""File store: the text is a file, and its revision is the hash of the text.

Written beside and renamed over, so that no reader sees half of it; written under a lock file, so that two processes
that compare and swap cannot both win. People may edit the file by hand all the same. What it was is kept in a folder
beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..runtime import SYSTEM
from .file_watch import AGAIN, FileWatch, stamp
from .store import Changed, Conflict, Entry, StoreAway, Told

KEPT = 50


class FileStore:
    """A store in one file; its history in `.NAME.history/` beside it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path).absolute()  # a daemon may change its folder; links stay links
        self.name: str = str(path)
        self._past = self.path.parent / f".{self.path.name}.history"

    def get(self) -> Entry | None:
        try:
            text = self.path.read_text(encoding="utf-8")
            return Entry(text, _revision(text), self.path.stat().st_mtime)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreAway(f"{self.name}: cannot be read: {error}") from None

    def put(self, text: str, *, expected: str | None = None) -> Entry:
        try:
            with self._locked():
                before = self.get()
                found = before.revision if before is not None else ""
                if expected is not None and expected != found:
                    raise Conflict(self.name, found, expected)
                if before is not None:
                    self._keep(before)  # perhaps an edit by hand
                _replace(self.path, text)
                entry = Entry(text, _revision(text), self.path.stat().st_mtime)
                self._keep(entry)
        except OSError as error:
            raise StoreAway(f"{self.name}: cannot be written: {error}") from None
        return entry

    def history(self, limit: int = 20) -> list[Entry]:
        now = self.get()
        found = [now] if now is not None else []
        for path in sorted(self._past.glob("*.yaml"), reverse=True) if self._past.is_dir() else ():
            text = path.read_text(encoding="utf-8")
            if not found or found[-1].text != text:
                found.append(Entry(text, _revision(text), path.stat().st_mtime))
        return found[:limit]

    def watch(self, changed: Changed, told: Told = lambda problem: None) -> Callable[[], None]:
        last: str | None = None
        length = 0  # of the text that was passed on last
        away = False
        seen = {self.path: stamp(self.path)}

        def read() -> tuple[Entry | None, str | None]:
            seen[self.path] = stamp(self.path)
            try:
                entry = self.get()
            except StoreAway as error:
                return None, str(error)
            return entry, f"{self.name}: there is no file" if entry is None else None

        def look() -> None:
            nonlocal last, length, away
            entry, problem = read()
            if (0 if entry is None else len(entry.text)) < length:  # it may be half written
                SYSTEM.sleep(AGAIN)
                entry, problem = read()
            if problem is not None or away:
                away = problem is not None
                told(problem)
            if entry is not None and entry.revision != last:
                changed(entry)
                last, length = entry.revision, len(entry.text)  # not before: a forked child looks again

        look()
        return FileWatch(lambda: seen, look).close

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._past.mkdir(exist_ok=True)
        with (self._past / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # to close it is not enough, if a child was forked off meanwhile

    def _keep(self, entry: Entry) -> None:
        """Save a state, unless it is what was saved last."""
        saved = sorted(self._past.glob("*.yaml"))
        if saved and saved[-1].read_text(encoding="utf-8") == entry.text:
            return
        number = int(saved[-1].stem) + 1 if saved else 1
        path = self._past / f"{number:08d}.yaml"
        _replace(path, entry.text)
        os.utime(path, (entry.at, entry.at))
        for old in saved[: max(0, len(saved) + 1 - KEPT)]:
            old.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    """Write beside and rename over; the old file's permissions stay."""
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _revision(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
