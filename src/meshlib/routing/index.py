"""Which rules can this path possibly match? Found by whole segments in a trie, never by scanning all rules.

Each node knows the rules whose literal beginning leads to it or to a node above it, in the order in which they were
written, so one walk gives one ready list. A rule without a literal beginning is in every list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

from .match import Match, Test
from .route import Matcher

T = TypeVar("T")
Candidate: TypeAlias = "tuple[Test | None, T]"


class _Node(Generic[T]):
    __slots__ = ("candidates", "children", "own")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.own: list[tuple[int, Candidate[T]]] = []
        self.candidates: tuple[Candidate[T], ...] = ()


class PathIndex(Generic[T]):
    """Rules by literal path. `find` gives the candidates: the test left to do (None: none) and a value."""

    __slots__ = ("_depth", "_exact", "_root")

    def __init__(self, rules: Sequence[tuple[Matcher | None, T]]) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0
        exact: dict[str, list[tuple[int, Candidate[T]]]] = {}
        for order, (matcher, value) in enumerate(rules):
            path = matcher.path if isinstance(matcher, Match) else None
            if path is None or not isinstance(matcher, Match):
                test = matcher.rest if isinstance(matcher, Match) else matcher.matches if matcher is not None else None
                self._root.own.append((order, (test, value)))
                continue
            candidate = (matcher.rest if path.certain else matcher.matches, value)
            if path.exact:
                exact.setdefault(path.literal, []).append((order, candidate))
            else:
                self._grow(path.literal).own.append((order, candidate))
        self._settle(self._root, [])
        self._exact = {path: _shortened(sorted([*own, *self._above(path)], key=_order)) for path, own in exact.items()}

    def find(self, path: str) -> tuple[Candidate[T], ...]:
        """The rules that may match `path`, first to last."""
        candidates = self._exact.get(path)
        if candidates is not None:
            return candidates
        node = self._root
        if node.children:
            for segment in path.split("/", self._depth + 1)[1:]:
                below = node.children.get(segment)
                if below is None:
                    break
                node = below
        return node.candidates

    def _grow(self, literal: str) -> _Node[T]:
        node = self._root
        segments = literal.split("/")[1:]
        self._depth = max(self._depth, len(segments))
        for segment in segments:
            node = node.children.setdefault(segment, _Node())
        return node

    def _settle(self, root: _Node[T], inherited: list[tuple[int, Candidate[T]]]) -> None:
        stack = [(root, inherited)]
        while stack:
            node, above = stack.pop()
            if node.own and above:
                node.own = sorted([*above, *node.own], key=_order)
            else:
                node.own = node.own or above
            node.candidates = _shortened(node.own)
            stack += [(child, node.own) for child in node.children.values()]

    def _above(self, path: str) -> list[tuple[int, Candidate[T]]]:
        node = self._root
        for segment in path.split("/")[1:]:
            below = node.children.get(segment)
            if below is None:
                break
            node = below
        return node.own


def _order(entry: tuple[int, Candidate[T]]) -> int:
    return entry[0]


def _shortened(entries: list[tuple[int, Candidate[T]]]) -> tuple[Candidate[T], ...]:
    """Without what stands behind a rule that always holds: nothing gets past it."""
    candidates: list[Candidate[T]] = []
    for _, candidate in entries:
        candidates.append(candidate)
        if candidate[0] is None:
            break
    return tuple(candidates)
