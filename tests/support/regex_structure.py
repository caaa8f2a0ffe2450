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

from collections import deque
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import NamedTuple

from .regex_automaton import Automaton, NotUnderstood
from .regex_chars import Characters, Chars

__all__ = ["NotUnderstood", "why_not_linear"]


class Step(NamedTuple):
    """One way from a state to the next: over one of `chars` to `to`."""

    to: int
    chars: Chars


def why_not_linear(pattern: str | bytes, flags: int = 0, *, method: str = "search") -> str | None:
    """What makes `pattern` slow when it is used by `method` of a compiled pattern; None if it is linear.

    Raises NotUnderstood.
    """
    tree = _parser.parse(pattern, flags)
    drawing = Automaton(tree, Characters(tree, isinstance(pattern, bytes)), method)
    for inner in drawing.asserted:  # within a repeat it begins anew at each place, as a search does
        tree.data = inner
        found = _judged(Automaton(tree, drawing.read, "search"))
        if found is not None:
            return f"within an assertion, {found}"
    return _judged(drawing)


def _judged(drawing: Automaton) -> str | None:
    graph = _Graph(drawing)
    for state in graph.cyclic:
        if not graph.accepting[state] and graph.leads_back_twice(state):
            return f"exponential: {graph.shown(state)} is read in two ways again and again"
    for p in graph.cyclic:
        for q in graph.cyclic:
            if p != q and not graph.accepting[q] and graph.shared(p, q):
                return f"quadratic: {graph.shown(p)} and {graph.shown(q)} share a text"
    return None


class _Graph:
    """The automaton without its silent edges."""

    def __init__(self, drawing: Automaton) -> None:
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
