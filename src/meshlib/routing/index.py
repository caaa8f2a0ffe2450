"""Path index: finds the rules that a path can match, by whole segments in a trie, without a scan of all rules.

A rule hangs at the node of its literal beginning. The candidates for a path are the rules of all nodes on its way, in
the order in which they were written; they are put together when a node is first reached, and kept. A rule without a
literal beginning is among all candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        self.candidates: tuple[Candidate[T], ...] | None = None


class PathIndex(Generic[T]):
    """Rules by literal path. `find` gives the candidates: the test left to do (None: none) and a value."""

    __slots__ = ("_depth", "_exact", "_root")

    def __init__(self, rules: Sequence[tuple[Matcher | None, T]]) -> None:
        self._root: _Node[T] = _Node()
        self._exact: dict[str, _Node[T]] = {}
        self._depth = 0
        for order, (matcher, value) in enumerate(rules):
            if not isinstance(matcher, Match):
                self._root.own.append((order, (None if matcher is None else matcher.matches, value)))
                continue
            path = matcher.path
            if path is None:
                self._root.own.append((order, (matcher.rest, value)))
                continue
            # Where the index leads, a certain path needs no further test.
            candidate = (order, (matcher.rest if path.certain else matcher.matches, value))
            if path.exact:
                self._exact.setdefault(path.literal, _Node()).own.append(candidate)
            else:
                self._grown(path.literal).own.append(candidate)

    def find(self, path: str) -> tuple[Candidate[T], ...]:
        """The rules that may match `path`, first to last."""
        node = self._exact.get(path)
        if node is None:
            node = self._root
            if node.children:
                # Deeper than the rules go nobody looks, however many slashes a stranger sends.
                for segment in path.split("/", self._depth + 1)[1:]:
                    below = node.children.get(segment)
                    if below is None:
                        break
                    node = below
        candidates = node.candidates
        if candidates is None:  # two threads may both do this, to the same result
            candidates = node.candidates = self._merged(path)
        return candidates

    def _grown(self, literal: str) -> _Node[T]:
        node = self._root
        segments = literal.split("/")[1:]
        self._depth = max(self._depth, len(segments))
        for segment in segments:
            below = node.children.get(segment)
            if below is None:
                below = node.children[segment] = _Node()
            node = below
        return node

    def _way(self, path: str) -> Iterator[_Node[T]]:
        node: _Node[T] | None = self._root
        for segment in [*path.split("/", self._depth + 1)[1:], ""]:
            if node is None:
                return
            yield node
            node = node.children.get(segment)

    def _merged(self, path: str) -> tuple[Candidate[T], ...]:
        found = [entry for node in self._way(path) for entry in node.own]
        exact = self._exact.get(path)
        found += exact.own if exact is not None else ()
        found.sort(key=_order)
        candidates: list[Candidate[T]] = []
        for _, candidate in found:
            candidates.append(candidate)
            if candidate[0] is None:  # it always holds: nothing gets past it
                break
        return tuple(candidates)


def _order(entry: tuple[int, Candidate[T]]) -> int:
    return entry[0]
