"""Regex program: instructions with jumps, and the four ways to put programs together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

CHAR, SPLIT, JUMP, SAVE, START, END, ACCEPT = range(7)


class Instruction:
    """`takes` a character and goes on to the next instruction, or jumps to `target` (first) and `other`."""

    __slots__ = ("kind", "other", "takes", "target")

    def __init__(self, kind: int, takes: Callable[[str], bool] | None = None, target: int = 0, other: int = 0) -> None:
        self.kind = kind
        self.takes: Callable[[str], bool] = takes or _nothing
        self.target = target
        self.other = other


Program: TypeAlias = list[Instruction]


def sequence(*parts: Program | Instruction) -> Program:
    joined: Program = []
    for part in parts:
        offset = len(joined)
        for step in [part] if isinstance(part, Instruction) else part:
            if step.kind in (SPLIT, JUMP) and offset:
                step = Instruction(step.kind, None, step.target + offset, step.other + offset)
            joined.append(step)
    return joined


def either(first: Program, second: Program) -> Program:
    split = Instruction(SPLIT, target=1, other=len(first) + 2)
    end = len(first) + len(second) + 2
    moved = sequence(Instruction(SAVE, target=0), first, Instruction(SAVE, target=0), second)
    moved[0], moved[len(first) + 1] = split, Instruction(JUMP, target=end)
    return moved


def star(body: Program, lazy: bool) -> Program:
    moved = sequence(Instruction(SAVE, target=0), body)
    inside, after = 1, len(body) + 2
    moved[0] = Instruction(SPLIT, target=after if lazy else inside, other=inside if lazy else after)
    return [*moved, Instruction(JUMP, target=0)]


def maybe(body: Program, lazy: bool) -> Program:
    moved = sequence(Instruction(SAVE, target=0), body)
    inside, after = 1, len(body) + 1
    moved[0] = Instruction(SPLIT, target=after if lazy else inside, other=inside if lazy else after)
    return moved


def _nothing(char: str) -> bool:
    return False
