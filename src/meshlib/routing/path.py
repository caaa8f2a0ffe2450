"""Path: Finagle's names, elements of bytes, written `/svc/users` with special bytes as `\\xHH`."""

from __future__ import annotations

from collections.abc import Iterator

SHOWABLE = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:.#$%-")


class Path:
    """A hierarchical name, immutable. Elements are never empty.

    They are kept as text: bytes that are no UTF-8 become lone surrogates and go back to the same bytes.
    """

    __slots__ = ("_hash", "elements")

    def __init__(self, *elements: str) -> None:
        if not all(elements):
            raise ValueError(f"elements: an empty one found in {elements!r}, expected at least one character in each")
        self.elements: tuple[str, ...] = elements
        self._hash = hash(elements)

    def starts_with(self, prefix: Path) -> bool:
        return self.elements[: len(prefix.elements)] == prefix.elements

    def take(self, count: int) -> Path:
        return Path(*self.elements[:count])

    def drop(self, count: int) -> Path:
        return Path(*self.elements[count:]) if count else self

    def __add__(self, other: Path) -> Path:
        return Path(*self.elements, *other.elements) if other.elements else self

    def __len__(self) -> int:
        return len(self.elements)

    def __iter__(self) -> Iterator[str]:
        return iter(self.elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and self.elements == other.elements

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return "/" + "/".join(map(shown, self.elements))

    def __repr__(self) -> str:
        return f"<Path {self}>"


EMPTY_PATH = Path()


def shown(element: str) -> str:
    """One element as it is written: as it is, or every byte of it as `\\xHH`."""
    if SHOWABLE.issuperset(element):
        return element
    return "".join(f"\\x{byte:02x}" for byte in element.encode("utf-8", "surrogateescape"))
