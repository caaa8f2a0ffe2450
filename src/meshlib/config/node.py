"""Node: one mapping of a manifest, each key of which is used or reported.

A `Node` is one mapping of a manifest. Whoever reads a key has used it; `without_meaning` says why one does nothing in a
client; `Report` gets those, and everything that nobody has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from .document import Document, Place, dotted
from .errors import shown_value
from .values import read_duration, read_ratio


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One thing to say about a file. An error would be refused; a warning would not."""

    file: str
    line: int
    level: str  # "error" or "warning"
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.message}"


class ConfigReport:
    """What was read and does not do here what it does elsewhere, each thing once, in the order of its discovery."""

    def __init__(self) -> None:
        self.findings: list[FileFinding] = []
        self._known: set[FileFinding] = set()

    def add(self, document: Document, place: Place, message: str) -> None:
        nearest = place
        while nearest and nearest not in document.lines:
            nearest = nearest[:-1]
        line = document.lines.get(nearest, 1)
        finding = FileFinding(document.file, line, "warning", f"{title(document)}: {dotted(place)}: {message}")
        if finding not in self._known:
            self._known.add(finding)
            self.findings.append(finding)

    def refuse(self) -> None:
        """Raise the first finding as a `ConfigError`, with the others noted on it; nothing if there is none."""
        if not self.findings:
            return
        first, *others = self.findings
        where, _, why = first.message.partition(": ")
        error = ConfigError(where, why, file=first.file, line=first.line)
        for other in others:
            error.add_note(f"{other.file}:{other.line}: {other.message}")
        raise error

    def __iter__(self) -> Iterator[FileFinding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))


def title(document: Document) -> str:
    """`VirtualService reviews`, as far as the document says it."""
    data = document.data
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return f"{kind or 'the file'} {name or ''}".rstrip()


class Node:
    """One mapping of a document, at `place` in it."""

    def __init__(self, document: Document, place: Place, report: ConfigReport) -> None:
        data: Any = document.data
        for step in place:
            data = data[step]
        if not isinstance(data, Mapping):
            raise document.error(place, f"expected names and values, found {shown_value(data)}")
        self.document = document
        self.place = place
        self.report = report
        self._data: Mapping[Any, Any] = data
        self._used: set[str] = set()
        self._children: dict[Place, Node] = {}

    @property
    def line(self) -> int:
        return self.document.lines.get(self.place, 1)

    def __contains__(self, key: str) -> bool:
        return self._data.get(key) is not None

    def keys(self) -> list[str]:
        """All keys that have a value. What is done with each is up to whoever asks."""
        return [str(key) for key, value in self._data.items() if value is not None]

    def value(self, key: str, default: Any = None) -> Any:
        self._used.add(key)
        found = self._data.get(key)
        return default if found is None else found

    def text(self, key: str, default: str | None = None) -> str | None:
        found = self.value(key)
        if isinstance(found, Mapping | list):
            raise self.error(key, f"expected a text, found {shown_value(found)}")
        if isinstance(found, bool):
            return "true" if found else "false"
        return default if found is None else str(found)

    def named(self, key: str) -> str:
        """A text that must be there."""
        found = self.text(key)
        if not found:
            raise self.error(key, "missing")
        return found

    def number(self, key: str, default: float | None = None) -> float | None:
        found = self.value(key)
        if found is None:
            return default
        if isinstance(found, Mapping):  # protobuf wrappers: {value: 10}
            found = found.get("value")
        try:
            return float(found)
        except (TypeError, ValueError, OverflowError):
            raise self.error(key, f"expected a number, found {shown_value(found)}") from None

    def count(self, key: str, default: int | None = None) -> int | None:
        found = self.number(key)
        if found is None:
            return default
        if found != found or found in (float("inf"), -float("inf")) or found != int(found):
            raise self.error(key, f"expected a whole number, found {shown_value(found)}")
        return int(found)

    def seconds(self, key: str, default: float | None = None) -> float | None:
        return self._measured(key, default, read_duration)

    def share(self, key: str, default: float | None = None) -> float | None:
        return self._measured(key, default, read_ratio)

    def _measured(self, key: str, default: float | None, read: Any) -> float | None:
        found = self.value(key)
        if found is None:
            return default
        try:
            return float(read(found))
        except ValueError as error:
            raise self.error(key, f"{error}, found {shown_value(found)}") from None
        except (TypeError, OverflowError):
            raise self.error(key, f"expected a number, found {shown_value(found)}") from None

    def texts(self, key: str) -> list[str]:
        found = self.value(key, [])
        if not isinstance(found, list) or any(isinstance(one, Mapping | list) for one in found):
            raise self.error(key, f"expected a list of texts, found {shown_value(found)}")
        return [str(one) for one in found]

    def strings(self, key: str) -> dict[str, str]:
        """A mapping of names to texts."""
        found = self.node(key)
        return {} if found is None else {name: found.text(name) or "" for name in found.keys()}  # noqa: SIM118

    def node(self, key: str) -> Node | None:
        if self.value(key) is None:
            return None
        return self._child((*self.place, key))

    def nodes(self, key: str) -> list[Node]:
        found = self.value(key, [])
        if not isinstance(found, list):
            raise self.error(key, f"expected a list, found {shown_value(found)}")
        return [self._child((*self.place, key, index)) for index in range(len(found))]

    def _child(self, place: Place) -> Node:
        child = self._children.get(place)
        if child is None:
            child = self._children[place] = Node(self.document, place, self.report)
        return child

    def error(self, key: str, expected: str) -> ConfigError:
        return self.document.error((*self.place, key), expected)

    def say(self, key: str | None, message: str) -> None:
        """Report something about a key, or (None) about all of this."""
        self.report.add(self.document, self.place if key is None else (*self.place, key), message)

    def without_meaning(self, why: str, *keys: str) -> None:
        """These keys, if they are there, do nothing here: `why`."""
        for key in keys:
            if self.value(key) is not None:
                self.say(key, why)

    def ignore(self, keys: Iterable[str]) -> None:
        """These keys carry nothing that could be lost."""
        self._used.update(keys)

    def close(self) -> None:
        """Report what nobody has read, here and below."""
        for key in self.keys():
            if key not in self._used:
                self.say(key, "is not known here, and does nothing")
        for child in self._children.values():
            child.close()
