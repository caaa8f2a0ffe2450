"""Reading YAML with the line of everything in it, so that an error can say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

Place = tuple[str | int, ...]
MOST_PLACES = 2_000_000


class Document:
    """A parsed file: `data`, and the line (from 1) of each place in it."""

    def __init__(self, file: str, data: Any, lines: dict[Place, int]) -> None:
        self.file = file
        self.data = data
        self.lines = lines

    def error(self, place: Place, expected: str) -> ConfigError:
        """An error at `place`, or at the nearest place around it that the file has."""
        nearest = place
        while nearest and nearest not in self.lines:
            nearest = nearest[:-1]
        return ConfigError(dotted(place), expected, file=self.file, line=self.lines.get(nearest, 1))


def dotted(place: Place) -> str:
    """`services.users.split`, or `clusters.a.endpoints[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "(the whole file)"


def read(path: Path) -> Document:
    """Parse a YAML (or JSON) file. Raises `ConfigError`, also for a key that stands twice."""
    return parse(_text(path), str(path))


def _text(path: Path) -> str:
    file = str(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("(the whole file)", f"cannot be read: {error.strerror or error}", file=file) from None
    except UnicodeDecodeError as error:
        raise ConfigError("(the whole file)", f"expected UTF-8 text: {error.reason}", file=file) from None


def read_all(path: Path) -> list[Document]:
    """The documents of a file, which `---` sets apart; empty ones are left out. Raises `ConfigError`."""
    return [document for document in parse_all(_text(path), str(path)) if document.data is not None]


def parse(text: str, file: str) -> Document:
    """Parse YAML text of one document; `file` is the name for errors."""
    found = parse_all(text, file)
    if len(found) > 1:
        where = found[1].lines.get((), 1)
        raise ConfigError("(the whole file)", "not YAML: expected a single document", file=file, line=where)
    return found[0] if found else Document(file, None, {})


def parse_all(text: str, file: str) -> list[Document]:
    """Parse YAML text of any number of documents."""
    found: list[Document] = []
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # there was one
            lines: dict[Place, int] = {}
            _note_lines(node, (), lines, file, depth=0)
            found.append(Document(file, loader.construct_document(node), lines))
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "no YAML"
        raise ConfigError(
            "(the whole file)", f"not YAML: {problem}", file=file, line=mark.line + 1 if mark else None
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError("(the whole file)", f"not YAML: {error}", file=file) from None
    finally:
        loader.dispose()
    return found


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], file: str, depth: int) -> None:
    lines[place] = node.start_mark.line + 1
    if depth > 60 or len(lines) > MOST_PLACES:  # aliases can make a short text very deep or very large
        raise ConfigError(dotted(place), "too deep or too large", file=file, line=lines[place])
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _note_lines(child, (*place, index), lines, file, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if name in seen and name != "<<":
                raise ConfigError(
                    dotted((*place, name)), "found twice, expected once", file=file, line=key.start_mark.line + 1
                )
            seen.add(name)
            _note_lines(child, (*place, name), lines, file, depth + 1)
            lines[(*place, name)] = key.start_mark.line + 1
