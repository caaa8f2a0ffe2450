"""Rollout condition: an expression over live figures, such as `success_rate < 0.99 or p99 > 300ms`.

    condition = all *( "or" all )      all = test *( "and" test )      test = "(" condition ")" | name operator number
    operator  = "<" | "<=" | ">" | ">="                                number = 0.99 | 99% | 300ms | 1.5s | 2m

Times are seconds. A figure that is not there, or is no number, satisfies nothing: no data is no reason to act.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import NoReturn

from ..errors import ConfigError

NAMES = ("success_rate", "failure_rate", "requests", "rps", "p50", "p90", "p95", "p99", "p999", "mean")
_DEEPEST = 30
_UNITS = {"": 1.0, "%": 0.01, "ms": 0.001, "s": 1.0, "m": 60.0}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_BLANKS = re.compile(r"\s*")
_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|(\d+(?:\.\d*)?|\.\d+)([A-Za-z%]*)|(<=|>=|<|>|\(|\)))", re.ASCII)


class Condition:
    """A condition that was read. `names` are the figures that it looks at."""

    __slots__ = ("_test", "names", "text")

    def __init__(self, text: str, test: Callable[[Mapping[str, float]], bool], names: frozenset[str]) -> None:
        self.text: str = text
        self._test = test
        self.names: frozenset[str] = names

    @staticmethod
    def read(text: str) -> Condition:
        """Parse a condition. Raises ConfigError with the position of the mistake in brackets."""
        reader = _Reader(text)
        test = reader.either(0)
        if reader.token is not None:
            reader.refuse("and, or, or the end")
        return Condition(text.strip(), test, frozenset(reader.names))

    def holds(self, figures: Mapping[str, float]) -> bool:
        return self._test(figures)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Condition.read({self.text!r})"


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self.end = 0
        self.names: set[str] = set()
        self.token: re.Match[str] | None = None
        self.advance()

    def advance(self) -> None:
        blanks = _BLANKS.match(self.text, self.end)
        self.at = self.end if blanks is None else blanks.end()
        self.token = _TOKEN.match(self.text, self.end)
        if self.token is not None:
            self.end = self.token.end()
        elif self.at < len(self.text):
            self.refuse("a name, a number, a comparison or a parenthesis")

    def refuse(self, expected: str) -> NoReturn:
        text, at = self.text, self.at
        found = f"{text[at]!r}" if at < len(text) else "the end"
        raise ConfigError(
            "condition", f"{expected} expected but {found} found at '{text[:at]}[{text[at : at + 1]}]{text[at + 1 :]}'"
        )

    def word(self) -> str:
        """The name, comparison or parenthesis that comes next; empty for a number or the end."""
        return "" if self.token is None else self.token[1] or self.token[4] or ""

    def either(self, depth: int) -> Callable[[Mapping[str, float]], bool]:
        if depth > _DEEPEST:
            self.refuse(f"at most {_DEEPEST} parentheses within each other")
        tests = [self.both(depth)]
        while self.word() == "or":
            self.advance()
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda figures: any(test(figures) for test in tests)

    def both(self, depth: int) -> Callable[[Mapping[str, float]], bool]:
        tests = [self.test(depth)]
        while self.word() == "and":
            self.advance()
            tests.append(self.test(depth))
        return tests[0] if len(tests) == 1 else lambda figures: all(test(figures) for test in tests)

    def test(self, depth: int) -> Callable[[Mapping[str, float]], bool]:
        if self.word() == "(":
            self.advance()
            inside = self.either(depth + 1)
            if self.word() != ")":
                self.refuse(")")
            self.advance()
            return inside
        name = self.word()
        if name not in NAMES:
            self.refuse(f"one of {', '.join(NAMES)}")
        self.names.add(name)
        self.advance()
        compare = _OPERATORS.get(self.word())
        if compare is None:
            self.refuse("<, <=, > or >=")
        self.advance()
        limit = self.number()
        return lambda figures: compare(figures.get(name, float("nan")), limit)

    def number(self) -> float:
        if self.token is None or not self.token[2]:
            self.refuse("a number")
        unit = _UNITS.get(self.token[3])
        if unit is None:
            self.refuse("a number with %, ms, s, m or nothing behind it")
        value = float(self.token[2]) * unit
        self.advance()
        return value
