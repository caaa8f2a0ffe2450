"""Regular expressions: how many steps does one take over a text? Counted by a matcher of our own, never by the clock.

It backtracks as sre does, and in the same order, but without sre's short cuts: the count is a bound for it, but for a
constant.
"""

from __future__ import annotations

import re
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from .regex_chars import Characters

Program = list[tuple[Any, ...]]


class TooMany(Exception):
    """The limit of steps was passed."""


def steps(
    pattern: str | bytes, text: str | bytes, flags: int = 0, *, method: str = "fullmatch", limit: int = 10_000_000
) -> int:
    """The steps of `method` (match, fullmatch, search or findall) over `text`. Raises TooMany beyond `limit`."""
    tree = _parser.parse(pattern, flags)
    read = Characters(tree, isinstance(pattern, bytes), text)
    program = _compiled(tree.data, read)
    program.append(("end",) if method == "fullmatch" else ("done",))
    run = _Run([*(text if isinstance(text, bytes) else map(ord, text))], limit)
    at, last = 0, 0 if method in ("match", "fullmatch") else len(text)
    while at <= last:
        end = run.match(program, at)
        if end is not None and method != "findall":
            break
        at = at + 1 if end is None or end == at else end
    return run.steps


def _compiled(items: Any, read: Characters) -> Program:
    program: Program = []
    for kind, value in items:
        chars = read.single(kind, value)
        if chars is not None:
            program.append(("read", chars))
        elif kind is op.SUBPATTERN:
            with read.within(value):
                program += _compiled(value[3], read)
        elif kind is op.BRANCH:
            program += _branched([_compiled(branch, read) for branch in value[1]])
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            program += _repeated(*value[:2], _compiled(value[2], read), kind is op.MIN_REPEAT)
        elif kind is op.POSSESSIVE_REPEAT:
            program.append(("alone", [*_repeated(*value[:2], _compiled(value[2], read), False), ("done",)]))
        elif kind is op.ATOMIC_GROUP:
            program.append(("alone", [*_compiled(value, read), ("done",)]))
        elif kind is op.AT:
            program.append(("at", value, bool(read.flags & re.MULTILINE)))
        elif kind in (op.ASSERT, op.ASSERT_NOT) and read.single(*value[1][0]) is not None and len(value[1]) == 1:
            program.append(("look", value[0] > 0, read.single(*value[1][0]), kind is op.ASSERT))
        else:
            raise NotImplementedError(f"{kind}")
    return program


def _branched(branches: list[Program]) -> Program:
    program = branches[-1]
    for branch in reversed(branches[:-1]):
        program = [("try", 1, len(branch) + 2), *branch, ("go", len(program) + 1), *program]
    return program


def _repeated(least: int, most: int, body: Program, lazy: bool) -> Program:
    def first(one: int, other: int) -> tuple[Any, ...]:
        return ("try", other, one) if lazy else ("try", one, other)

    program = body * least
    if most == op.MAXREPEAT:
        return [*program, first(1, len(body) + 2), *body, ("go", -len(body) - 1)]
    for left in range(most - least, 0, -1):
        program = [*program, first(1, 1 + len(body) * left + left - 1), *body]
    return program


class _Run:
    def __init__(self, text: list[int], limit: int) -> None:
        self._text = text
        self._limit = limit
        self.steps = 0

    def match(self, program: Program, at: int) -> int | None:
        """Where a match that begins at `at` ends."""
        text, size = self._text, len(self._text)
        ways = [(0, at)]
        while ways:
            here, at = ways.pop()
            while True:
                self.steps += 1
                if self.steps > self._limit:
                    raise TooMany(f"more than {self._limit} steps over {size} characters")
                what, *how = program[here]
                if what == "read":
                    if at == size or text[at] not in how[0]:
                        break
                    at += 1
                    here += 1
                elif what == "try":
                    ways.append((here + how[1], at))
                    here += how[0]
                elif what == "go":
                    here += how[0]
                elif what == "alone":
                    end = self.match(how[0], at)
                    if end is None:
                        break
                    at = end
                    here += 1
                elif what == "at":
                    if not self._is_at(*how, at):
                        break
                    here += 1
                elif what == "look":
                    ahead, chars, wanted = how
                    place = at if ahead else at - 1
                    if (0 <= place < size and text[place] in chars) is not wanted:
                        break
                    here += 1
                elif what == "done" or at == size:
                    return at
                else:
                    break
        return None

    def _is_at(self, code: Any, multiline: bool, at: int) -> bool:
        text = self._text
        if code in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return at == 0 or (multiline and code is op.AT_BEGINNING and text[at - 1] == 10)
        if code in (op.AT_END, op.AT_END_STRING):
            lines = code is op.AT_END
            return at == len(text) or (lines and text[at] == 10 and (multiline or at == len(text) - 1))
        raise NotImplementedError(f"{code}")
