"""Path pattern: Linkerd's `/svc/*/{name}:http`, a prefix of elements with wildcards and captures.

After Linkerd 1's PathMatcher: `*` alone stands for one element; within an element each `{name}` takes as many
characters as it can, the texts around it must be found, and the whole may be part of the element.
"""

from __future__ import annotations

import re

from .dtab_reader import read_path
from .path import Path

# The character range between `:` and `_` is Linkerd's; it takes upper-case letters and some punctuation, but no dash.
_CAPTURE = re.compile(r"\{([a-zA-Z0-9.:-_]+)\}")


class PathPattern:
    """A pattern over the beginning of a path, compiled. What follows in the path does not matter."""

    __slots__ = ("_elements", "text")

    def __init__(self, text: str) -> None:
        self.text: str = text
        elements = text.split("/")
        while elements and not elements[-1]:
            elements.pop()
        while elements and not elements[0]:
            elements.pop(0)
        # Literals and names take turns: "a{x}b" is ["a", "x", "b"].
        self._elements = [_CAPTURE.split(element) for element in elements]

    def extracted(self, path: Path) -> dict[str, str] | None:
        """What the captures took, as written in the path; None if it does not match."""
        found: dict[str, str] = {}
        elements = str(path)[1:].split("/") if len(path) else []
        if len(elements) < len(self._elements):
            return None
        for parts, element in zip(self._elements, elements, strict=False):
            if parts == ["*"]:
                continue
            if len(parts) == 1:
                if parts[0] != element:
                    return None
                continue
            values = _captured(parts[::2], element)
            if values is None:
                return None
            found.update(zip(parts[1::2], values, strict=True))
        return found

    def substituted(self, path: Path, template: str) -> str | None:
        """The template with each `{name}` replaced by what it took; None if the path does not match."""
        found = self.extracted(path)
        if found is None:
            return None
        parts = _CAPTURE.split(template)
        parts[1::2] = [found.get(name, f"{{{name}}}") for name in parts[1::2]]
        return "".join(parts)

    def substituted_path(self, path: Path, template: str) -> Path | None:
        """As `substituted`, read as a path. Raises ConfigError if it is none."""
        text = self.substituted(path, template)
        return None if text is None else read_path(text)

    def __repr__(self) -> str:
        return f"PathPattern({self.text!r})"


def _captured(literals: list[str], element: str) -> list[str] | None:
    """What stands between the literals, each time as much as possible.

    The first capture is longest if every later literal stands as far right as the ones behind it allow.
    """
    begin = element.find(literals[0])
    if begin < 0:
        return None
    begin += len(literals[0])
    ends = [0] * len(literals)
    bound = len(element)
    for index in range(len(literals) - 1, 0, -1):
        at = element.rfind(literals[index], begin, bound)
        if at < 0:
            return None
        ends[index] = bound = at
    values = []
    for index in range(1, len(literals)):
        values.append(element[begin : ends[index]])
        begin = ends[index] + len(literals[index])
    return values
