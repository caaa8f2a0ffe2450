"""Dtab reader: reads paths, name trees and dtabs in Finagle's grammar, character by character.

    dtab     = [ dentry *( ";" dentry ) [ ";" ] ]  dentry = prefix "=>" tree
    tree     = union *( "|" union )                union  = weighted *( "&" weighted )
    weighted = [ number "*" ] simple               simple = path | "!" | "~" | "$" | "(" tree ")"
    prefix   = "/" [ part *( "/" part ) ]          part   = label | "*"

Blanks may stand between tokens, and a `#` there begins a comment to the end of the line; within an element it is a
character like any other. Mistakes are reported as Finagle does, with brackets around the offending character.
"""

from __future__ import annotations

from math import isfinite
from typing import NoReturn, TypeVar

from ..errors import ConfigError
from .dtab import ANY, Dentry, Dtab, Prefix
from .nametree import EMPTY, FAIL, NEG, Alt, Leaf, NameTree, Union, Weighted
from .path import SHOWABLE, Path

T = TypeVar("T")

DEEPEST = 30
_LONGEST_QUOTE = 400
_LABEL = SHOWABLE | {"\\"}
_HEX = frozenset("0123456789abcdefABCDEF")
_NO_BLANKS = frozenset("\x85\xa0\u2007\u202f")  # blank to Python, not to the JVM


def read_path(text: str) -> Path:
    reader = _Reader("path", text)
    return reader.ended(reader.path())


def read_tree(text: str) -> NameTree[Path]:
    reader = _Reader("name tree", text)
    return reader.ended(reader.tree(0))


def read_prefix(text: str) -> Prefix:
    reader = _Reader("prefix", text)
    return reader.ended(reader.prefix())


def read_dentry(text: str) -> Dentry:
    reader = _Reader("dtab entry", text)
    return reader.ended(reader.dentry())


def read_dtab(text: str) -> Dtab:
    reader = _Reader("dtab", text)
    return reader.ended(reader.dtab())


class _Reader:
    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        self.at = 0

    def refuse(self, expected: str) -> NoReturn:
        text, at = self.text, self.at
        found = f"'{text[at]}'" if at < len(text) else "end of input"
        before, after = text[:at], text[at + 1 :]
        if len(text) > _LONGEST_QUOTE:  # what is quoted should fit on a screen
            half = _LONGEST_QUOTE // 2
            before = f"…{before[-half:]}" if len(before) > half else before
            after = f"{after[:half]}…" if len(after) > half else after
        line = text.count("\n", 0, at) + 1
        where = self.kind if "\n" not in text else f"{self.kind}, line {line}"
        raise ConfigError(where, f"{expected} expected but {found} found at '{before}[{text[at : at + 1]}]{after}'")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def eat(self, char: str) -> None:
        if not self.maybe(char):
            self.refuse(f"'{char}'")

    def maybe(self, char: str) -> bool:
        if self.peek() != char:
            return False
        self.at += 1
        return True

    def blanks(self) -> None:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char == "#":
                newline = text.find("\n", self.at)
                self.at = len(text) if newline < 0 else newline + 1
            elif char.isspace() and char not in _NO_BLANKS:
                self.at += 1
            else:
                return

    def ended(self, result: T) -> T:
        self.blanks()
        if self.at < len(self.text):
            self.refuse("end of input")
        return result

    def label(self) -> str:
        text, start = self.text, self.at
        pieces = bytearray()
        while (char := self.peek()) and char in _LABEL:
            self.at += 1
            if char == "\\":
                self.eat("x")
                for _ in range(2):
                    if self.peek() not in _HEX or not self.peek():
                        self.refuse("hex char")
                    self.at += 1
                pieces.append(int(text[self.at - 2 : self.at], 16))
            else:
                pieces.append(ord(char))
        if self.at == start:
            self.refuse("label char")
        return pieces.decode("utf-8", "surrogateescape")

    def path(self) -> Path:
        self.blanks()
        self.eat("/")
        if not self.peek() or self.peek() not in _LABEL:
            return Path()
        elements = [self.label()]
        while self.maybe("/"):
            elements.append(self.label())
        return Path(*elements)

    def prefix(self) -> Prefix:
        self.blanks()
        self.eat("/")
        if not self.peek() or (self.peek() not in _LABEL and self.peek() != "*"):
            return Prefix()
        elements = [ANY if self.maybe("*") else self.label()]
        while self.maybe("/"):
            elements.append(ANY if self.maybe("*") else self.label())
        return Prefix(*elements)

    def tree(self, depth: int) -> NameTree[Path]:
        if depth > DEEPEST:
            self.refuse(f"at most {DEEPEST} parentheses within each other")
        trees = [self.union(depth)]
        while self.maybe("|"):
            trees.append(self.union(depth))
        return trees[0] if len(trees) == 1 else Alt(tuple(trees))

    def union(self, depth: int) -> NameTree[Path]:
        arms = [self.weighted(depth)]
        self.blanks()
        while self.maybe("&"):
            arms.append(self.weighted(depth))
            self.blanks()
        return arms[0].tree if len(arms) == 1 else Union(tuple(arms))

    def weighted(self, depth: int) -> Weighted[Path]:
        self.blanks()
        weight = 1.0
        if self.number_follows():
            weight = self.number()
            self.blanks()
            self.eat("*")
        return Weighted(weight, self.simple(depth))

    def number_follows(self) -> bool:
        char = self.peek()
        return char == "." or (char.isascii() and char.isdigit())

    def number(self) -> float:
        start = self.at
        while self.number_follows():
            if self.peek() == "." and "." in self.text[start : self.at]:
                self.refuse("number char")
            self.at += 1
        digits = self.text[start : self.at]
        if digits == "." or not isfinite(float(digits)):
            self.at = start
            self.refuse("weight")
        return float(digits)

    def simple(self, depth: int) -> NameTree[Path]:
        self.blanks()
        char = self.peek()
        if char == "/":
            return Leaf(self.path())
        if char == "(":
            self.at += 1
            tree = self.tree(depth + 1)
            self.blanks()
            self.eat(")")
            return tree
        special = {"!": FAIL, "~": NEG, "$": EMPTY}.get(char)
        if special is None:
            self.refuse("simple")
        self.at += 1
        return special

    def dentry(self) -> Dentry:
        prefix = self.prefix()
        self.blanks()
        self.eat("=")
        self.eat(">")
        return Dentry(prefix, self.tree(0))

    def dtab(self) -> Dtab:
        entries: list[Dentry] = []
        while True:
            self.blanks()
            if self.at < len(self.text):
                entries.append(self.dentry())
                self.blanks()
            if not self.maybe(";"):
                return Dtab(entries)
