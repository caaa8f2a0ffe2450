"""Document: YAML data with the line of everything in it, so that an error can name the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .plain_yaml import WHOLE, Place, documents, dotted, lines

__all__ = ["Document", "Place", "dotted", "parse_document", "parse_documents", "read_document", "read_documents"]


class Lines:
    """Where everything stands in a text, found out when it is asked for: reading twice is dearer than reading once."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._found: list[dict[Place, int]] | None = None

    def of(self, number: int) -> Mapping[Place, int]:
        """The lines of a text's document, the first of which is 0."""
        if self._found is None:
            self._found = lines(self._text, self._file)
        return self._found[number]


class Document:
    """A parsed file: `data`, and the line (from 1) of each place in it.

    What an alias stands for has no lines of its own: there, the line of the alias counts.
    """

    def __init__(self, file: str, data: Any, lines: Mapping[Place, int] | tuple[Lines, int]) -> None:
        self.file = file
        self.data = data
        self._lines = lines

    @property
    def lines(self) -> Mapping[Place, int]:
        if isinstance(self._lines, tuple):
            text, number = self._lines
            self._lines = text.of(number)
        return self._lines

    def line(self, place: Place) -> int:
        """The line of `place`, or of the nearest place around it that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, place: Place, expected: str) -> ConfigError:
        """An error at `place`."""
        return ConfigError(dotted(place), expected, file=self.file, line=self.line(place))


def read_document(path: Path) -> Document:
    """Parse a YAML (or JSON) file. Raises `ConfigError`, also for a key that stands twice."""
    return parse_document(_text(path), str(path))


def _text(path: Path) -> str:
    file = str(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(WHOLE, f"cannot be read: {error.strerror or error}", file=file) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(WHOLE, f"expected UTF-8 text: {error.reason}", file=file, line=line) from None


def read_documents(path: Path) -> list[Document]:
    """The documents of a file, which `---` sets apart; empty ones are left out.

    Raises `ConfigError`, also for a file without a single sign: it was truncated. Comments alone are no documents.
    """
    text = _text(path)
    if not text.strip("\ufeff \t\r\n"):
        raise ConfigError(WHOLE, "is empty: write what it means, or delete the file", file=str(path))
    return [document for document in parse_documents(text, str(path)) if document.data is not None]


def parse_document(text: str, file: str) -> Document:
    """Parse YAML text of one document; `file` is the name for errors."""
    found = parse_documents(text, file)
    if len(found) > 1:
        raise ConfigError(WHOLE, "not YAML: expected a single document", file=file, line=found[1].line(()))
    return found[0] if found else Document(file, None, {})


def parse_documents(text: str, file: str) -> list[Document]:
    """Parse YAML text of any number of documents."""
    where = Lines(text, file)
    return [Document(file, data, (where, number)) for number, data in enumerate(documents(text, file))]
