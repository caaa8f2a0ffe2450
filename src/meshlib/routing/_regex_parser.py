"""Regex parser: turns RE2's syntax into the instructions that `regex` runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ._regex_classes import CLASSES, POSIX, Ranges, anything, in_ranges, not_newline
from ._regex_program import ACCEPT, CHAR, END, SAVE, START, Instruction, Program, either, maybe, sequence, star

LARGEST_PROGRAM = 1_500
DEEPEST = 60
_MOST_REPEATS = 1_000

_CONTROLS: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}


def compile_pattern(pattern: str, ignore_case: bool) -> Program:
    """The program of a pattern; its last instruction accepts. Targets are absolute. Raises ValueError."""
    parser = _Parser(pattern, ignore_case)
    body = parser.alternatives(0)
    if parser.at < len(pattern):
        raise parser.error("unmatched )")
    whole = sequence(Instruction(SAVE, target=0), body, Instruction(SAVE, target=1))
    return [*whole, Instruction(ACCEPT)]


class _Parser:
    """Recursive descent. Fragments have relative jumps in their own coordinates, moved when they are joined."""

    def __init__(self, pattern: str, ignore_case: bool) -> None:
        self.pattern = pattern
        self.at = 0
        self.groups = 0
        self.fold = ignore_case
        self.dot_all = False
        self.lazy = False

    def error(self, what: str) -> ValueError:
        return ValueError(f"regex: {what} at position {self.at} of {self.pattern!r}")

    def peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def alternatives(self, depth: int) -> Program:
        if depth > DEEPEST:
            raise self.error(f"groups nested more than {DEEPEST} deep")
        flags = self.fold, self.dot_all, self.lazy
        arms = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            arms.append(self.sequence(depth))
        self.fold, self.dot_all, self.lazy = flags
        result = arms[-1]
        for arm in reversed(arms[:-1]):
            result = self.checked(either(arm, result))
        return result

    def sequence(self, depth: int) -> Program:
        parts: list[Program] = []
        length = 0
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(self.atom(depth)))
            length += len(parts[-1])
            if length > LARGEST_PROGRAM:
                raise self.too_large()
        return sequence(*parts)

    def too_large(self) -> ValueError:
        return self.error(f"pattern too large (more than {LARGEST_PROGRAM} steps)")

    def checked(self, program: Program) -> Program:
        if len(program) > LARGEST_PROGRAM:
            raise self.too_large()
        return program

    def repeated(self, atom: Program) -> Program:
        bounds = self.bounds()
        if bounds is None:
            return atom
        least, most = bounds
        lazy = self.peek() == "?"
        self.at += lazy
        lazy ^= self.lazy
        if self.peek() in ("*", "+", "?") or self.bounds() is not None:
            raise self.error("a repetition of a repetition (put a group around the first)")
        if len(atom) * max(least, most or 1, 1) > LARGEST_PROGRAM:
            raise self.too_large()
        parts = sequence(*[atom] * least)
        if most is None:
            return self.checked(sequence(parts, star(atom, lazy)))
        optional: Program = []
        for _ in range(most - least):
            optional = maybe(sequence(atom, optional), lazy)
            self.checked(optional)
        return sequence(parts, optional)

    def bounds(self) -> tuple[int, int | None] | None:
        char = self.peek()
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char)
        if simple is not None:
            self.at += 1
            return simple
        if char != "{":
            return None
        inner, brace, _ = self.pattern[self.at + 1 : self.at + 12].partition("}")
        low, comma, high = inner.partition(",")
        if not (brace and _digits(low) and (not high or _digits(high))):
            return None  # RE2 takes such a brace for itself
        least = int(low)
        most = None if comma and not high else int(high or low)
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise self.error(f"bad repetition {{{inner}}}")
        self.at += len(inner) + 2
        return least, most

    def atom(self, depth: int) -> Program:
        char = self.peek()
        if char in "*+?":
            raise self.error("nothing to repeat")
        self.at += 1
        if char == "(":
            return self.group(depth)
        if char == "[":
            return [Instruction(CHAR, self.char_class())]
        if char == ".":
            return [Instruction(CHAR, anything if self.dot_all else not_newline)]
        if char in "^$":
            return [Instruction(START if char == "^" else END)]
        if char == "\\":
            return self.escape()
        return [Instruction(CHAR, self.literal(char))]

    def group(self, depth: int) -> Program:
        flags = self.fold, self.dot_all, self.lazy
        number: int | None = None
        if self.peek() != "?":
            self.groups += 1
            number = self.groups
        else:
            self.at += 1
            if self.pattern.startswith(("P<", "<"), self.at) and self.pattern[self.at + 1 : self.at + 2] not in (
                "=",
                "!",
            ):
                close = self.pattern.find(">", self.at)
                name = self.pattern[self.at : close].lstrip("P").lstrip("<")
                if close < 0 or not name.isidentifier():
                    raise self.error("bad group name")
                self.at = close + 1
                self.groups += 1
                number = self.groups
            elif self.flags():
                return []  # flags for what follows, as in (?i)
        body = self.alternatives(depth + 1)
        if self.peek() != ")":
            raise self.error("missing )")
        self.at += 1
        self.fold, self.dot_all, self.lazy = flags
        if number is None:
            return body
        return self.checked(
            sequence(Instruction(SAVE, target=2 * number), body, Instruction(SAVE, target=2 * number + 1))
        )

    def flags(self) -> bool:
        """Read `i`, `s`, `U` and `-`; True if a `)` ends them, so that they hold for the rest of the group."""
        on = True
        while True:
            char = self.peek()
            self.at += 1
            if char == "-":
                on = False
            elif char == "i":
                self.fold = on
            elif char == "s":
                self.dot_all = on
            elif char == "U":
                self.lazy = on
            elif char in (":", ")") and char:
                return char == ")"
            else:
                self.at -= 1
                raise self.error("(? with something that no linear engine has, such as look-around")

    def escape(self) -> Program:
        char = self.peek()
        self.at += 1
        if char == "A":
            return [Instruction(START)]
        if char == "z":
            return [Instruction(END)]
        if char == "Q":
            text, _, _ = self.pattern[self.at :].partition("\\E")
            self.at = min(self.at + len(text) + 2, len(self.pattern))
            return self.checked([Instruction(CHAR, self.literal(char)) for char in text])
        if char and char.lower() in CLASSES:
            return [Instruction(CHAR, in_ranges(CLASSES[char.lower()], char.isupper(), False))]
        self.at -= 1
        return [Instruction(CHAR, self.literal(self.escaped()))]

    def escaped(self) -> str:
        """One character behind a backslash."""
        char = self.peek()
        self.at += 1
        if char in _CONTROLS and char:
            return _CONTROLS[char]
        if char == "x":
            if self.peek() == "{":
                code, brace, _ = self.pattern[self.at + 1 : self.at + 9].partition("}")
                self.at += len(code) + 1 + len(brace)
            else:
                code = self.pattern[self.at : self.at + 2]
                brace = "}" if len(code) == 2 else ""
                self.at += len(code)
            if brace and code and all(digit in "0123456789abcdefABCDEF" for digit in code) and int(code, 16) < 0x110000:
                return chr(int(code, 16))
        elif char and not (char.isalnum() and char.isascii()):
            return char
        self.at -= 1
        raise self.error(f"\\{char}, which no linear engine has, or which is not supported" if char else "a lone \\")

    def literal(self, char: str) -> Callable[[str], bool]:
        if self.fold and (char.lower() != char or char.upper() != char):
            return frozenset((char, char.lower(), char.upper())).__contains__
        return char.__eq__

    def char_class(self) -> Callable[[str], bool]:
        negated = self.peek() == "^"
        self.at += negated
        ranges: Ranges = []
        excluded: list[Callable[[str], bool]] = []
        first = True
        while self.peek() != "]" or first:
            first = False
            if self.pattern.startswith("[:", self.at) and (end := self.pattern.find(":]", self.at)) > 0:
                name = self.pattern[self.at + 2 : end]
                if name.lstrip("^") not in POSIX:
                    raise self.error(f"unknown class [:{name}:]")
                self.at = end + 2
                if name.startswith("^"):
                    excluded.append(in_ranges(POSIX[name[1:]], True, self.fold))
                else:
                    ranges += POSIX[name]
                continue
            low = self.class_char(ranges, excluded)
            if low is None:
                continue
            high: str | None = low
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.class_char(ranges, excluded)
                if high is None or high < low:
                    raise self.error("bad range")
            ranges.append((low, high or low))
        self.at += 1
        inside = in_ranges(ranges, False, self.fold)
        if not excluded:
            return in_ranges(ranges, negated, self.fold)
        return lambda char: (inside(char) or any(test(char) for test in excluded)) is not negated

    def class_char(self, ranges: Ranges, excluded: list[Callable[[str], bool]]) -> str | None:
        char = self.peek()
        if not char:
            raise self.error("missing ]")
        self.at += 1
        if char != "\\":
            return char
        kind = self.peek()
        if kind and kind.lower() in CLASSES:
            self.at += 1
            if kind.isupper():
                excluded.append(in_ranges(CLASSES[kind.lower()], True, False))
            else:
                ranges += CLASSES[kind]
            return None
        return self.escaped()


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
