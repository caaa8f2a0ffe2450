"""Binding: applies the dtab to a name until every leaf is bound to a cluster.

After Finagle's Namer.bind and DefaultInterpreter, and Linkerd's ConfiguredNamersInterpreter: first the dtab; if it says
`~`, the namers whose prefix fits, first to last, each handing on by saying `~` itself; then what is built in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from .dtab import Dtab
from .dtab_reader import read_dtab
from .namer import PENDING, Bound, Lookup, Name, Namer, NamingError, Pending
from .nametree import FAIL, NEG, Alt, Leaf, NameTree, Special, Union, Weighted, simplified
from .path import Path
from .utility_namers import builtin

MAX_DEPTH = 100
MAX_LOOKUPS = 2_000

BoundTree = NameTree[Bound]


class Interpreter:
    """A dtab and the namers behind it. Immutable; `with_dtab` makes one for a request's own entries.

    `namers` are pairs of prefix (`/#/io.l5d.fs`) and namer. `extra` are further namers by name, below `/$/`.
    `max_depth` bounds the delegations that follow one upon another.
    """

    __slots__ = ("dtab", "extra", "max_depth", "namers")

    def __init__(
        self,
        dtab: Dtab | str = "",
        *,
        namers: Iterable[tuple[Path, Namer]] = (),
        extra: Mapping[str, Namer] | None = None,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        if max_depth < 1:
            raise ValueError(f"max_depth: {max_depth!r} found, expected at least 1")
        self.dtab: Dtab = read_dtab(dtab) if isinstance(dtab, str) else dtab
        self.namers: tuple[tuple[Path, Namer], ...] = tuple(namers)
        self.extra: dict[str, Namer] = dict(extra or {})
        self.max_depth: int = max_depth

    def with_dtab(self, override: Dtab) -> Interpreter:
        """The same, with entries that come after, and so before, its own."""
        if not len(override):
            return self
        return Interpreter(self.dtab + override, namers=self.namers, extra=self.extra, max_depth=self.max_depth)

    def lookup(self, path: Path) -> NameTree[Name] | Pending:
        """One step: what the dtab makes of a path or else the namers."""
        tree = self.dtab.lookup(path)
        # A tree of paths is a tree of names; only the type checker cannot know that these trees never change.
        return self.named(path) if tree is NEG else cast("NameTree[Name]", tree)

    def named(self, path: Path) -> NameTree[Name] | Pending:
        """What the namers know, without the dtab."""
        for prefix, namer in self.namers:
            if path.starts_with(prefix):
                found = namer.lookup(path.drop(len(prefix)))
                if found is not NEG:
                    return found
        return builtin(path, self.extra)

    def bind(self, name: Path | NameTree[Path]) -> BoundTree | Pending:
        """The tree of bound names, simplified, without fail-overs. Raises NamingError."""
        tree: NameTree[Path] = Leaf(name) if isinstance(name, Path) else name
        return bind(self.lookup, tree, max_depth=self.max_depth)


def bind(lookup: Lookup, tree: NameTree[Path], *, max_depth: int = MAX_DEPTH) -> BoundTree | Pending:
    """Look up every leaf until it is bound.

    A union is as good as what is bound in it: pending or failed only if nothing is. Raises NamingError after
    `max_depth` delegations in a row, or 2,000 matching entries in all (some tables would need 2 ** 100).
    """
    try:
        return _Binding(lookup, max_depth).bind(tree, 0, None)
    except RecursionError:
        raise NamingError("the name trees are nested too deeply to be bound") from None


class _Binding:
    __slots__ = ("left", "lookup", "max_depth")

    def __init__(self, lookup: Lookup, max_depth: int) -> None:
        self.lookup = lookup
        self.max_depth = max_depth
        self.left = MAX_LOOKUPS

    def bind(self, tree: NameTree[Path] | NameTree[Name], depth: int, weight: float | None) -> BoundTree | Pending:
        if depth > self.max_depth:
            raise NamingError(f"Max recursion level: {self.max_depth} reached in Namer lookup")
        if isinstance(tree, Leaf):
            value = tree.value
            if isinstance(value, Bound):
                return Leaf(value.weighing(weight))
            self.left -= 1
            if self.left < 0:
                raise NamingError(f"{value}: more than {MAX_LOOKUPS} entries apply to one name")
            found = self.lookup(value)
            if isinstance(found, Alt):
                self.left -= len(found.trees)  # what costs is the entries that match, not the look-ups
            return PENDING if isinstance(found, Pending) else self.bind(found, depth + 1, weight)
        if isinstance(tree, Alt):
            return self.first(tree, depth, weight)
        if isinstance(tree, Union):
            arms = tree.trees
            return self.bind(arms[0].tree, depth, arms[0].weight) if len(arms) == 1 else self.union(tree, depth)
        return tree

    def first(self, tree: Alt[Path] | Alt[Name], depth: int, weight: float | None) -> BoundTree | Pending:
        for branch in tree.trees:
            bound = self.bind(branch, depth, weight)
            if bound is not NEG:
                return bound
        return NEG

    def union(self, tree: Union[Path] | Union[Name], depth: int) -> BoundTree | Pending:
        bound: list[Weighted[Bound]] = []
        failure: Exception | None = None
        for arm in tree.trees:
            try:
                found = self.bind(arm.tree, depth, arm.weight)
            except Exception as error:
                failure = failure or error
                if self.left < 0:
                    break
                continue
            if not isinstance(found, Pending):
                bound.append(Weighted(arm.weight, found))
        if bound and self.left >= 0:
            return simplified(Union(tuple(bound)))
        if failure is not None:
            raise failure
        return PENDING if tree.trees else NEG


def shares(tree: BoundTree) -> list[tuple[Bound | None, float]]:
    """Each bound name with its share of the traffic (the sum is 1); None for a branch that has nobody to ask.

    Weights of nested unions multiply. A branch that is empty keeps its weight, unless that is 0; where all weights
    are 0 they count as equal. An empty list: there is nobody at all.
    """
    if isinstance(tree, Leaf):
        return [(tree.value, 1.0)]
    if not isinstance(tree, Union):
        return []
    kept = [arm for arm in tree.trees if arm.weight > 0 or not isinstance(arm.tree, Special)]
    largest = max([arm.weight for arm in kept], default=0.0)
    weights = [arm.weight / largest if largest > 0 else 1.0 for arm in kept]
    total = sum(weights)
    result: list[tuple[Bound | None, float]] = []
    for arm, weight in zip(kept, weights, strict=True):
        share = weight / total
        result += [(bound, share * inner) for bound, inner in shares(arm.tree) or [(None, 1.0)]]
    return result if any(bound is not None for bound, _ in result) else []


__all__ = ["FAIL", "MAX_DEPTH", "MAX_LOOKUPS", "BoundTree", "Interpreter", "bind", "shares"]
