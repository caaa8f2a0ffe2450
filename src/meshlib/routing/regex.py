"""Regex: matches a text against an RE2 pattern in time linear in the text, whatever the pattern.

Rules come from operators and texts from strangers, so a backtracking engine is out of the question. Patterns in RE2's
syntax (without `\\b`, `\\p{…}`, back-references and look-around) become a Thompson automaton. `matches` runs it as a
deterministic one that is made while it is used and forgotten when it grows too large: one dictionary look-up per
character. `substitute` needs groups and runs Pike's simulation. Both are linear in the text, with a factor that is
at most the size of the pattern, and that size is limited.
"""

from __future__ import annotations

from ._regex_parser import compile_pattern
from ._regex_program import CHAR, END, JUMP, SAVE, SPLIT, START, Instruction

LARGEST_CACHE = 5_000


class _State:
    __slots__ = ("accepts", "following", "threads")

    def __init__(self, threads: tuple[int, ...], accepts: bool) -> None:
        self.threads = threads
        self.accepts = accepts
        self.following: dict[str, _State] = {}


class Regex:
    """A compiled pattern. It matches the whole text, as Envoy and Istio do, unless `search` lets it match a part.

    Raises ValueError for a pattern that is malformed, too large, or needs what no linear engine can do.
    """

    __slots__ = ("_cached", "_dead", "_first", "_known", "_program", "ignore_case", "pattern", "search")

    def __init__(self, pattern: str, *, ignore_case: bool = False, search: bool = False) -> None:
        self.pattern: str = pattern
        self.ignore_case: bool = ignore_case
        self.search: bool = search
        self._program = compile_pattern(pattern, ignore_case)
        self._forget()

    def matches(self, text: str) -> bool:
        """Whether the whole text (with `search`: some part of it) matches."""
        state, dead, search = self._first, self._dead, self.search
        if search and self._accepts_here(state):
            return True
        for char in text:
            following = state.following.get(char)
            if following is None:
                following = self._step(state, char)
            if following is dead:
                return False
            state = following
            if search and self._accepts_here(state):
                return True
        return state.accepts

    def substitute(self, text: str, replacement: str) -> str:
        r"""Replace every part that matches; `\1` to `\9` stand for groups and `\0` for all of it, as in RE2.

        One search is linear, but a text can make each of many searches look at all of it. From where they have
        together looked at every character eight times, the text stays as it is.
        """
        pieces: list[str] = []
        position = 0
        left = 8 * len(text) + 64
        while position <= len(text) and left > 0:
            groups, looked = self._find(text, position)
            left -= looked
            if groups is None:
                break
            begin, end = groups[0], groups[1]
            pieces += [text[position:begin], _filled(replacement, text, groups)]
            if begin == end:  # an empty match must not be found again
                pieces.append(text[begin : begin + 1])
            position = end if end > begin else begin + 1
        return "".join(pieces) + text[position:]

    def _forget(self) -> None:
        self._known: dict[tuple[int, ...], _State] = {}
        self._cached = 0
        self._dead = _State((), False)
        self._first = self._state([0], at_start=True)

    def _state(self, threads: list[int], *, at_start: bool = False) -> _State:
        seeds = [*threads, 0] if self.search and not at_start else threads
        if not seeds:
            return self._dead
        reached = tuple(sorted(self._closure(seeds, at_start, at_end=False)))
        # At the very start `^` holds, later it does not: the two are different states even with the same threads.
        state = None if at_start else self._known.get(reached)
        if state is None:
            accepts = len(self._program) - 1 in self._closure(seeds, at_start, at_end=True)
            state = _State(reached, accepts)
            if not at_start:
                self._known[reached] = state
        return state

    def _closure(self, seeds: list[int], at_start: bool, at_end: bool) -> set[int]:
        program, reached, stack = self._program, set[int](), list(seeds)
        while stack:
            index = stack.pop()
            if index in reached:
                continue
            reached.add(index)
            stack += _epsilon(program[index], index, at_start, at_end)
        return reached

    def _step(self, state: _State, char: str) -> _State:
        program = self._program
        moved = [index + 1 for index in state.threads if program[index].takes(char)]
        if self._cached > LARGEST_CACHE:
            self._known = {}
            self._cached = 0
            self._first.following = {}
            state = _State(state.threads, state.accepts)  # the old one may live on in another thread's loop
        following = self._state(moved)
        state.following[char] = following
        self._cached += 1 + len(following.threads) // 16  # large states fill the cache sooner
        return following

    def _accepts_here(self, state: _State) -> bool:
        """Whether a match ends here, whatever follows."""
        return state.accepts and len(self._program) - 1 in state.threads

    def _find(self, text: str, start: int) -> tuple[list[int] | None, int]:
        """The leftmost match at or after `start`, first alternatives preferred, and how many characters that took.

        A match is the positions of its groups: begin and end of the whole, of the first group, and so on.
        """
        program = self._program
        best: list[int] | None = None
        current: list[tuple[int, list[int]]] = []
        position = start
        for position in range(start, len(text) + 1):
            reached: set[int] = set()
            ordered: list[tuple[int, list[int]]] = []
            for index, groups in current:
                self._follow(index, groups, position, text, reached, ordered)
            if best is None:
                self._follow(0, [], position, text, reached, ordered)
            current = []
            char = text[position] if position < len(text) else ""
            for index, groups in ordered:
                if index == len(program) - 1:
                    best = groups
                    break  # whatever comes after has a lower priority
                if char and program[index].takes(char):
                    current.append((index + 1, groups))
            if best is not None and not current:
                break
        return best, position - start + 1

    def _follow(
        self,
        first: int,
        groups: list[int],
        position: int,
        text: str,
        reached: set[int],
        into: list[tuple[int, list[int]]],
    ) -> None:
        stack = [(first, groups)]
        while stack:
            index, groups = stack.pop()
            if index in reached:
                continue
            reached.add(index)
            instruction = self._program[index]
            if instruction.kind == SAVE:
                groups = [*groups, *[-1] * (instruction.target + 1 - len(groups))]
                groups[instruction.target] = position
            targets = _epsilon(instruction, index, position == 0, position == len(text))
            if targets:
                stack += [(target, groups) for target in reversed(targets)]
            elif instruction.kind == CHAR or index == len(self._program) - 1:
                into.append((index, groups))

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"


def _epsilon(instruction: Instruction, index: int, at_start: bool, at_end: bool) -> list[int]:
    """Where an instruction leads without taking a character."""
    kind = instruction.kind
    if kind == CHAR:
        return []
    if kind == SPLIT:
        return [instruction.target, instruction.other]
    if kind == JUMP:
        return [instruction.target]
    holds = kind == SAVE or (kind == START and at_start) or (kind == END and at_end)
    return [index + 1] if holds else []


def _filled(replacement: str, text: str, groups: list[int]) -> str:
    pieces, rest = [], iter(replacement)
    for char in rest:
        if char != "\\":
            pieces.append(char)
            continue
        following = next(rest, "\\")
        if following in "0123456789":
            begin, end = [*groups[2 * int(following) :], -1, -1][:2]
            pieces.append(text[begin:end] if end >= 0 else "")
        else:
            pieces.append(following)
    return "".join(pieces)
