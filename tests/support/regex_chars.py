"""Regular expressions: the sets of characters that the parts of a parsed one read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

Chars = frozenset[int]


class Characters:
    """What the parts of an expression read, as sets over `alphabet`."""

    def __init__(self, tree: Any, is_bytes: bool, text: str | bytes = "") -> None:
        self.flags = tree.state.flags  # as they are within the group that is read now
        self._is_bytes = is_bytes
        self.alphabet = _alphabet(tree, is_bytes) | frozenset(text if isinstance(text, bytes) else map(ord, text))

    @contextmanager
    def within(self, group: Any) -> Iterator[None]:
        """While a group is read whose flags are its own."""
        old, self.flags = self.flags, (self.flags | group[1]) & ~group[2]
        yield
        self.flags = old

    def single(self, kind: Any, value: Any) -> Chars | None:
        """The characters that a part reads, if it reads exactly one."""
        if kind is op.SUBPATTERN and len(value[3]) == 1:
            with self.within(value):
                return self.single(*value[3][0])
        if kind is op.BRANCH and all(len(branch) == 1 for branch in value[1]):
            several = [self.single(*branch[0]) for branch in value[1]]
            if None not in several and sum(map(len, several)) == len(frozenset().union(*several)):  # type: ignore[arg-type]
                return frozenset().union(*several)  # type: ignore[arg-type]
            return None
        if kind not in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return None
        return frozenset(char for char in self.alphabet if self._reads(kind, value, char))

    def _reads(self, kind: Any, value: Any, char: int) -> bool:
        if kind is op.ANY:
            return bool(self.flags & re.DOTALL) or char != 10
        alike = {char}
        if self.flags & re.IGNORECASE:
            alike |= {ord(one) for one in (chr(char).lower(), chr(char).upper()) if len(one) == 1}
        if kind is op.IN:
            negated = value[0][0] is op.NEGATE
            return any(self._in(*item, alike) for item in value if item[0] is not op.NEGATE) is not negated
        return (value in alike) is (kind is op.LITERAL)

    def _in(self, kind: Any, value: Any, alike: set[int]) -> bool:
        if kind is op.LITERAL:
            return value in alike
        if kind is op.RANGE:
            return any(value[0] <= char <= value[1] for char in alike)
        letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).rpartition("_")[2]]
        text = [chr(char) for char in alike]
        flags = re.ASCII if self._is_bytes or self.flags & re.ASCII else 0
        return any(re.match("\\" + (letter.upper() if "_NOT_" in str(value) else letter), one, flags) for one in text)


def _alphabet(tree: Any, is_bytes: bool) -> Chars:
    """All bytes, or of all characters those of Latin 1, some others of each kind, and the expression's own."""
    if is_bytes:
        return frozenset(range(256))
    own: set[int] = set()

    def walk(value: Any) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 0x110000:
            own.add(int(value))
        elif isinstance(value, list | tuple | _parser.SubPattern):
            for item in value:
                walk(item)

    walk(tree.data)
    return frozenset(range(256)) | own | {0x660, 0x2028, 0x3B1, 0x3A3, 0x4E2D}
