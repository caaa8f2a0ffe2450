"""Regular expressions: which of them may take more than linear time? Read from their structure, never by the clock.

A backtracking matcher is slow where one stretch of text can be read in several ways, and the text then turns out not to
match: it tries them all. So the expression is drawn as an automaton whose states are its characters, and it is

    exponential   if one state leads back to itself over one and the same text in two ways
    quadratic     if two states p and q each lead back to themselves, and p to q, all over one and the same text

(Weber and Seidl 1991; Weideman and others 2016). A search begins anew at each position, which is a state that leads
back to itself over any text. What comes after a repeat that is possessive cannot begin with what it repeats. Where the
analysis is not exact (atomic groups, assertions longer than a character, counts above `MOST_COPIES`), it takes the
expression for slower than it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from .regex_chars import Characters, Chars

MOST_COPIES = 8  # a repeat of at most so many times is drawn as so many copies, a larger one as an endless one


class NotUnderstood(Exception):
    """The expression has a part that this analysis knows nothing of, such as a reference to a group."""


class Step(NamedTuple):
    """One way from a state to the next: over one of `chars` to `to`."""

    to: int
    chars: Chars


class Pieces(NamedTuple):
    """What `_Drawing` is made of: where a part begins and ends."""

    first: int
    last: int


def why_not_linear(pattern: str | bytes, flags: int = 0, *, method: str = "search") -> str | None:
    """What makes `pattern` slow when it is used by `method` of a compiled pattern; None if it is linear.

    Raises NotUnderstood.
    """
    tree = _parser.parse(pattern, flags)
    drawing = _Drawing(tree, Characters(tree, isinstance(pattern, bytes)), method)
    for inner in drawing.asserted:  # a lookaround is a match of its own, begun at each place
        tree.data = inner
        found = _judged(_Drawing(tree, drawing.read, "match"))
        if found is not None:
            return f"within an assertion, {found}"
    return _judged(drawing)


def _judged(drawing: _Drawing) -> str | None:
    graph = _Graph(drawing)
    for state in graph.cyclic:
        if not graph.accepting[state] and graph.leads_back_twice(state):
            return f"exponential: {graph.shown(state)} is read in two ways again and again"
    for p in graph.cyclic:
        for q in graph.cyclic:
            if p != q and not graph.accepting[q] and graph.shared(p, q):
                return f"quadratic: {graph.shown(p)} and {graph.shown(q)} share a text"
    return None


class _Drawing:
    """The parse tree as an automaton with silent edges. Each character of the expression is a node of its own."""

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


class _Graph:
    """The automaton without its silent edges."""

    def __init__(self, drawing: _Drawing) -> None:
        self._drawing = drawing
        self.steps: dict[int, list[Step]] = {}
        self.accepting: dict[int, bool] = {}  # whether the match is certain once the state is reached
        for state in (drawing.start, *drawing.chars):
            self.steps[state], self.accepting[state] = self._from(state)
        reach = {state: self._reachable(state) for state in self.steps}
        self.cyclic = [state for state in self.steps if state in reach[state] and state in reach[drawing.start]]
        self._reach = reach
        self._loop = {p: {q for q in reach[p] if p in reach[q]} for p in self.cyclic}

    def shown(self, state: int) -> str:
        chars = self._drawing.chars[state]
        if state in self._drawing.restarts:
            return "each new beginning of the search"
        shown = "".join(sorted(map(chr, chars))[:12])
        return f"the repeat over {shown!r}{'…' if len(chars) > 12 else ''}"

    def _from(self, state: int) -> tuple[list[Step], bool]:
        drawing = self._drawing
        steps: list[Step] = []
        accepting = False
        # A silent edge is taken once on a way: sre repeats nothing empty.
        ways: list[tuple[int, frozenset[tuple[int, int]], Chars, bool]] = [
            (drawing.after.get(state, state), frozenset(), drawing.read.alphabet, True)
        ]
        while ways:
            node, used, allowed, certain = ways.pop()
            if node in drawing.chars:
                chars = drawing.chars[node] & allowed
                if chars:
                    steps.append(Step(node, chars))
                continue
            if node == drawing.final and certain:
                accepting = True
            for number, (there, following, before) in enumerate(drawing.edges[node]):
                if (node, number) in used:
                    continue
                if before is not None and state != drawing.start and not drawing.chars[state] & before:
                    continue
                left = allowed if following is None else allowed & following
                ways.append((there, used | {(node, number)}, left, certain and following is None))
        return steps, accepting

    def _reachable(self, state: int) -> set[int]:
        found: set[int] = set()
        todo = [state]
        while todo:
            for step in self.steps[todo.pop()]:
                if step.to not in found:
                    found.add(step.to)
                    todo.append(step.to)
        return found

    def leads_back_twice(self, state: int) -> bool:
        inside = self._loop[state]
        todo, seen = deque([(state, state, False)]), set()
        while todo:
            one, other, apart = todo.popleft()
            for i, a in enumerate(self.steps[one]):
                for j, b in enumerate(self.steps[other]):
                    if a.to not in inside or b.to not in inside or not a.chars & b.chars:
                        continue
                    found = (a.to, b.to, apart or one != other or i != j)
                    if found == (state, state, True):
                        return True
                    if found not in seen:
                        seen.add(found)
                        todo.append(found)
        return False

    def shared(self, p: int, q: int) -> bool:
        """Whether one text leads from p to p, from p to q, and from q to q."""
        if q not in self._reach[p]:
            return False
        todo, seen = deque([(p, p, q)]), set()
        while todo:
            for found in self._together(*todo.popleft(), self._loop[p], self._reach[p], self._loop[q]):
                if found == (p, q, q):
                    return True
                if found not in seen and q in (self._reach[found[1]] | {found[1]}):
                    seen.add(found)
                    todo.append(found)
        return False

    def _together(self, a: int, b: int, c: int, *within: set[int]) -> Iterator[tuple[int, int, int]]:
        for one in self.steps[a]:
            if one.to not in within[0]:
                continue
            for two in self.steps[b]:
                chars = one.chars & two.chars
                if not chars or two.to not in within[1]:
                    continue
                for three in self.steps[c]:
                    if three.to in within[2] and chars & three.chars:
                        yield one.to, two.to, three.to
