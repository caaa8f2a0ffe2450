"""Regex classes: RE2's character classes as ranges, and the tests made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

Ranges: TypeAlias = list[tuple[str, str]]
CLASSES: Final[dict[str, Ranges]] = {
    "d": [("0", "9")],
    "w": [("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")],
    "s": [("\t", "\n"), ("\f", "\r"), (" ", " ")],
}
POSIX: Final[dict[str, Ranges]] = {
    "alnum": [("0", "9"), ("A", "Z"), ("a", "z")],
    "alpha": [("A", "Z"), ("a", "z")],
    "ascii": [("\0", "\x7f")],
    "blank": [("\t", "\t"), (" ", " ")],
    "cntrl": [("\0", "\x1f"), ("\x7f", "\x7f")],
    "digit": [("0", "9")],
    "graph": [("!", "~")],
    "lower": [("a", "z")],
    "print": [(" ", "~")],
    "punct": [("!", "/"), (":", "@"), ("[", "`"), ("{", "~")],
    "space": [("\t", "\r"), (" ", " ")],
    "upper": [("A", "Z")],
    "word": [("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")],
    "xdigit": [("0", "9"), ("A", "F"), ("a", "f")],
}


def in_ranges(ranges: Ranges, negated: bool, fold: bool) -> Callable[[str], bool]:
    pairs = tuple(ranges)

    def inside(char: str) -> bool:
        return any(low <= char <= high for low, high in pairs)

    if fold:
        return lambda char: (inside(char) or inside(char.lower()) or inside(char.upper())) is not negated
    return (lambda char: not inside(char)) if negated else inside


def anything(char: str) -> bool:
    return True


def not_newline(char: str) -> bool:
    return char != "\n"
