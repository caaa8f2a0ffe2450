"""Delegation table (dtab): `prefix => tree` entries that turn one name into another, the later ones first.

After Finagle's Dtab: an entry whose prefix matches replaces that prefix by its tree, the rest of the path goes to the
end of every leaf, and several matching entries form a fail-over, the last written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .nametree import NEG, Alt, NameTree, mapped, show_tree
from .path import Path, shown

ANY: str = ""  # an element of a prefix that stands for exactly one element, written `*`


class Prefix:
    """What a path must begin with. An element may be `ANY`."""

    __slots__ = ("elements",)

    def __init__(self, *elements: str) -> None:
        self.elements: tuple[str, ...] = elements

    def matches(self, path: Path) -> bool:
        wanted, found = self.elements, path.elements
        if ANY not in wanted:
            return found[: len(wanted)] == wanted
        return len(wanted) <= len(found) and all(want in (have, ANY) for want, have in zip(wanted, found, strict=False))

    def __len__(self) -> int:
        return len(self.elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prefix) and self.elements == other.elements

    def __hash__(self) -> int:
        return hash(self.elements)

    def __str__(self) -> str:
        return "/" + "/".join([shown(element) if element else "*" for element in self.elements])

    def __repr__(self) -> str:
        return f"<Prefix {self}>"


class Dentry:
    """One entry, `prefix => tree`."""

    __slots__ = ("prefix", "tree")

    def __init__(self, prefix: Prefix | Path, tree: NameTree[Path]) -> None:
        self.prefix: Prefix = prefix if isinstance(prefix, Prefix) else Prefix(*prefix.elements)
        self.tree: NameTree[Path] = tree

    def applied(self, path: Path) -> NameTree[Path]:
        """The tree for a path that matches, with what remains of the path behind every leaf."""
        rest = path.drop(len(self.prefix))
        return mapped(self.tree, lambda leaf: leaf + rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dentry) and self.prefix == other.prefix and self.tree == other.tree

    def __hash__(self) -> int:
        return hash((self.prefix, self.tree))

    def __str__(self) -> str:
        return f"{self.prefix}=>{show_tree(self.tree)}"

    def __repr__(self) -> str:
        return f"<Dentry {self}>"


class Dtab:
    """A delegation table, immutable. `base + override` lets the override win, because it comes later."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[Dentry] = ()) -> None:
        self.entries: tuple[Dentry, ...] = tuple(entries)

    def matching(self, path: Path) -> list[Dentry]:
        """The entries that apply, first choice first."""
        return [entry for entry in reversed(self.entries) if entry.prefix.matches(path)]

    def lookup(self, path: Path) -> NameTree[Path]:
        """One step: the tree that the matching entries make together; `NEG` if there are none."""
        trees = [entry.applied(path) for entry in self.matching(path)]
        return NEG if not trees else trees[0] if len(trees) == 1 else Alt(tuple(trees))

    def __add__(self, other: Dtab) -> Dtab:
        return Dtab(self.entries + other.entries) if other.entries else self

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Dentry]:
        return iter(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dtab) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __str__(self) -> str:
        return ";".join(map(str, self.entries))

    def __repr__(self) -> str:
        return f"<Dtab {self}>"
