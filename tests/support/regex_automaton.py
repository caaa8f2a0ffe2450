"""Regular expressions: one as an automaton with silent edges, in which each of its characters is a node of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from .regex_chars import Characters, Chars

MOST_COPIES = 8  # a repeat of at most so many times is drawn as so many copies, a larger one as an endless one


class NotUnderstood(Exception):
    """The expression has a part that this analysis knows nothing of, such as a reference to a group."""


class Pieces(NamedTuple):
    """What an `Automaton` is made of: where a part begins and ends."""

    first: int
    last: int


class Automaton:
    """That of a parse tree, used by `method` of a compiled pattern."""

    def __init__(self, tree: Any, read: Characters, method: str) -> None:
        self.read = read
        self.asserted: list[Any] = []
        # By node: where silent edges go, each with the characters that may come next, and those that may have come.
        self.edges: list[list[tuple[int, Chars | None, Chars | None]]] = []
        self.chars: dict[int, Chars] = {}  # what a node reads, if it does
        self.after: dict[int, int] = {}  # and where it goes then
        self.before: set[Chars] = set()  # the sets that what came before is asked for
        self.start = self._node()
        self.final = self._node()
        begin = self._node()
        body = self._sequence(tree.data)
        self._edge(begin, body.first)
        if method == "fullmatch":
            self._edge(body.last, self.final, following=frozenset())
        else:
            self._edge(body.last, self.final)
        self.restarts: list[int] = []
        self._edge(self.start, begin)
        if method not in ("match", "fullmatch"):
            for block in self._blocks():
                node = self._reading(block)
                self.restarts.append(node)
                self._edge(self.start, node)
                self._edge(self.after[node], begin)
                for other in self.restarts:
                    self._edge(self.after[node], other)
                    if other != node:
                        self._edge(self.after[other], node)

    def _blocks(self) -> Iterable[Chars]:
        """The alphabet in parts: by any question about what came before, all characters of a part are alike."""
        parts: dict[tuple[bool, ...], set[int]] = {}
        questions = list(self.before)
        for char in self.read.alphabet:
            parts.setdefault(tuple(char in question for question in questions), set()).add(char)
        return [frozenset(part) for part in parts.values()]

    def _node(self) -> int:
        self.edges.append([])
        return len(self.edges) - 1

    def _edge(self, here: int, there: int, following: Chars | None = None, before: Chars | None = None) -> None:
        self.edges[here].append((there, following, before))
        if before is not None:
            self.before.add(before)

    def _reading(self, chars: Chars) -> int:
        node = self._node()
        self.chars[node] = chars
        self.after[node] = self._node()
        return node

    def _sequence(self, items: Sequence[Any]) -> Pieces:
        first = last = self._node()
        for kind, value in items:
            piece = self._piece(kind, value)
            self._edge(last, piece.first)
            last = piece.last
        return Pieces(first, last)

    def _piece(self, kind: Any, value: Any) -> Pieces:
        chars = self.read.single(kind, value)
        if chars is not None:
            node = self._reading(chars)
            return Pieces(node, self.after[node])
        if kind is op.SUBPATTERN:
            with self.read.within(value):
                return self._sequence(value[3])
        if kind is op.ATOMIC_GROUP:
            return self._sequence(value)
        if kind is op.BRANCH:
            first, last = self._node(), self._node()
            for branch in value[1]:
                piece = self._sequence(branch)
                self._edge(first, piece.first)
                self._edge(piece.last, last)
            return Pieces(first, last)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            return self._repeat(kind, *value)
        if kind is op.AT or kind in (op.ASSERT, op.ASSERT_NOT):
            first, last = self._node(), self._node()
            self._edge(first, last, *(self._anchor(value) if kind is op.AT else self._look(kind, *value)))
            return Pieces(first, last)
        raise NotUnderstood(f"{kind}")

    def _repeat(self, kind: Any, least: int, most: int, items: Any) -> Pieces:
        first = last = self._node()
        for _ in range(min(least, MOST_COPIES)):
            piece = self._sequence(items)
            self._edge(last, piece.first)
            last = piece.last
        if most == least and most <= MOST_COPIES:
            return Pieces(first, last)
        end = self._node()
        if most <= MOST_COPIES:
            for _ in range(most - least):
                piece = self._sequence(items)
                self._edge(last, end)
                self._edge(last, piece.first)
                last = piece.last
            self._edge(last, end)
            return Pieces(first, end)
        piece = self._sequence(items)
        loop = self._node()
        self._edge(last, loop)
        self._edge(loop, piece.first)
        self._edge(piece.last, loop)
        repeated = self.read.single(*items[0]) if len(items) == 1 else None
        if kind is op.POSSESSIVE_REPEAT and repeated is not None and most == op.MAXREPEAT:
            self._edge(loop, end, following=self.read.alphabet - repeated)
        else:
            self._edge(loop, end)
        return Pieces(first, end)

    def _anchor(self, code: Any) -> tuple[Chars | None, Chars | None]:
        newline = frozenset({10})
        if code is op.AT_BEGINNING_STRING or (code is op.AT_BEGINNING and not self.read.flags & re.MULTILINE):
            return None, frozenset()
        if code is op.AT_BEGINNING:
            return None, newline
        if code is op.AT_END_STRING:
            return frozenset(), None
        return (newline, None) if code is op.AT_END else (None, None)

    def _look(self, kind: Any, direction: int, items: Any) -> tuple[Chars | None, Chars | None]:
        chars = self.read.single(*items[0]) if len(items) == 1 else None
        if chars is None:
            self.asserted.append(items)
            return None, None
        wanted = chars if kind is op.ASSERT else self.read.alphabet - chars
        return (wanted, None) if direction > 0 else (None, wanted)
