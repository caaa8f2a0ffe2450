"""Store: where the one shared text (a mesh.yaml) lives: read, compare and swap, watch.

A store holds one text under a name. Each state of it has a `revision`, and `put` replaces only the one that the writer
has seen (compare-and-swap), so that two writers cannot undo each other's work unknowingly. A store that is away raises
`StoreAway`; a watcher keeps the last good text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Protocol, TypeAlias

from .. import forked
from ..errors import MeshError


class StoreAway(MeshError):
    """The store cannot be reached, or does not answer as it should. What is known stays valid."""


class Conflict(MeshError):
    """Another writer wrote in between: read again, and decide anew. `found` is the revision that is there now."""

    def __init__(self, store: str, found: str, expected: str) -> None:
        super().__init__(store, found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        found = f"found revision {self.found}" if self.found else "found nothing there"
        return f"{self.args[0]}: {found}, expected {self.expected or 'nothing'}: another writer wrote in between"


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of the text. `at` is the time of day when it was written (seconds since 1970; 0: not known)."""

    text: str
    revision: str
    at: float = 0.0


Changed: TypeAlias = Callable[[Entry], object]
Told: TypeAlias = Callable[[str | None], object]


class RouteStore(Protocol):
    """What every store can do. Revisions are opaque; the empty one means: there is nothing yet."""

    name: str

    def get(self) -> Entry | None:
        """The text as it is now; None if there is none. Raises `StoreAway`."""

    def put(self, text: str, *, expected: str | None = None) -> Entry:
        """Replace the text if its revision is `expected` (None: whatever it is). Raises `Conflict`, `StoreAway`."""

    def history(self, limit: int = 20) -> list[Entry]:
        """What it was, newest first, as far back as the store remembers."""

    def watch(self, changed: Changed, told: Told = lambda problem: None) -> Callable[[], None]:
        """Call `changed` with the present text and then with each new one, none twice, from a thread of its own.

        `told` is called with what is wrong while the store is away, and with None when it is back. The function
        returned ends the watch.
        """


class MemoryStore:
    """A store in this process: for tests, and for programs that make their routes themselves."""

    def __init__(self, text: str | None = None, *, name: str = "memory") -> None:
        self.name = name
        self._lock = Lock()
        self._numbers = count(1)
        self._past: list[Entry] = []
        self._watchers: list[Changed] = []
        self._torn = False
        forked.register(self)
        if text is not None:
            self.put(text)

    def _after_fork(self) -> None:
        self._torn, self._lock = forked.held(self._lock), Lock()

    def _resume(self) -> None:
        if self._torn and self._past:  # another thread was just telling it
            for changed in self._watchers:
                changed(self._past[-1])

    def get(self) -> Entry | None:
        return self._past[-1] if self._past else None

    def put(self, text: str, *, expected: str | None = None) -> Entry:
        with self._lock:
            found = self._past[-1].revision if self._past else ""
            if expected is not None and expected != found:
                raise Conflict(self.name, found, expected)
            entry = Entry(text, str(next(self._numbers)))
            self._past.append(entry)
            for changed in self._watchers:
                changed(entry)
        return entry

    def history(self, limit: int = 20) -> list[Entry]:
        return self._past[::-1][:limit]

    def watch(self, changed: Changed, told: Told = lambda problem: None) -> Callable[[], None]:
        """As any store's, but `changed` is called in the thread of the writer."""
        with self._lock:
            self._watchers.append(changed)
            if self._past:
                changed(self._past[-1])
        return lambda: self._watchers.remove(changed)
