"""Every regular expression of the package takes linear time, whatever it is given; and h11's are known that do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h11._events
import h11._headers
import h11._readers
import pytest
from support.regex_finder import Found, Unreadable, expressions
from support.regex_steps import steps
from support.regex_structure import NotUnderstood, why_not_linear

import meshlib

ALL = list(expressions(Path(meshlib.__file__).parent))


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.place}-{one.method}")
def test_an_expression_is_linear(one: Found) -> None:
    why = why_not_linear(one.pattern, one.flags, method=one.method)
    assert why is None, f"{one.place}: re {one.pattern!r}, used by {one.method}, is {why}"


def test_expressions_are_found() -> None:
    assert len({one.place.partition(":")[0] for one in ALL}) >= 5


# What was slow, and what took its place.
OLD_HEAD = rb"(?m)^([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?|)[ \t]*\r\n"
NEW_HEAD = (
    rb"(?m)^([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*+([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?|)[ \t]*+\r\n"
)
OLD_DURATION = r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)"
SLOW: list[tuple[str | bytes, str, Callable[[int], str | bytes]]] = [
    (OLD_HEAD, "findall", lambda n: b"X:" + b" " * n + b"\0\r\n"),
    (OLD_DURATION, "findall", lambda n: "9" * n),
    (r"\s+$", "search", lambda n: " " * n + "x"),
    (r"a*a*b", "match", lambda n: "a" * n),
    (r"a*+b", "search", lambda n: "a" * n),
    (r"(?m)^\s+x", "search", lambda n: "\n" * n),
    (r"x.*y", "search", lambda n: "x" * n),
    (r"(?:.*,)(?:.*,)z", "match", lambda n: "," * n),
    (r"a{0,99}a*b", "match", lambda n: "a" * n),
]
EXPONENTIAL: list[tuple[str, str]] = [(r"(a+)+b", "a"), (r"(a|a)*b", "a"), (r"(?:a|b|ab)*c", "ab")]
FAST: list[tuple[str | bytes, str, Callable[[int], str | bytes]]] = [
    (NEW_HEAD, "findall", lambda n: b"X:" + b" " * n + b"\0\r\n"),
    (NEW_HEAD, "findall", lambda n: b"X:" + b" a" * (n // 2) + b"\0\r\n"),
    (NEW_HEAD, "findall", lambda n: b"X" * n),
    (OLD_DURATION, "match", lambda n: "9" * n),
    (r"a*+a*+b", "match", lambda n: "a" * n),
    (r"(?<!\d)\d+x", "search", lambda n: "9" * n),
    (r"^\s+x", "search", lambda n: " " * n),
    (r"\s+", "findall", lambda n: " " * n + "x"),
    (r"(?:[a-z]+,)*x", "match", lambda n: "a," * (n // 2)),
]


@pytest.mark.parametrize(("pattern", "method", "text"), SLOW)
def test_a_slow_expression_is_recognised(pattern: str | bytes, method: str, text: Callable[[int], str | bytes]) -> None:
    assert (why_not_linear(pattern, method=method) or "").startswith("quadratic")
    few, many = (steps(pattern, text(n), method=method) for n in (200, 400))
    if "99" not in str(pattern):  # else: quadratic as far as 99 only, which the structure does not see
        assert many > 3 * few


@pytest.mark.parametrize(("pattern", "text"), EXPONENTIAL)
def test_an_exponential_expression_is_recognised(pattern: str, text: str) -> None:
    assert (why_not_linear(pattern, method="match") or "").startswith("exponential")
    assert steps(pattern, text * 12, method="match") > 100 * steps(pattern, text * 4, method="match")


@pytest.mark.parametrize(("pattern", "method", "text"), FAST)
def test_a_fast_expression_passes(pattern: str | bytes, method: str, text: Callable[[int], str | bytes]) -> None:
    assert why_not_linear(pattern, method=method) is None
    few, many = (steps(pattern, text(n), method=method) for n in (200, 400))
    assert many < 2.2 * few


def test_what_the_analysis_does_not_know_is_no_pass() -> None:
    with pytest.raises(NotUnderstood):
        why_not_linear(r"(a+)\1b")


def test_h11s_own_expressions_are_linear_but_for_two() -> None:
    """What the head guard keeps from h11 is what these two are slow at. A third would need a guard as well."""
    slow = {
        name
        for module in (h11._events, h11._headers, h11._readers)
        for name, one in vars(module).items()
        if isinstance(one, re.Pattern) and why_not_linear(one.pattern, one.flags, method="fullmatch") is not None
    }
    assert slow == {"header_field_re", "chunk_header_re"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("from re import compile", "write `import re`"),
        ("import re as regex", "by its own name"),
        ("import re\ndef f(a): return re.match(a, '')", "constants of its module"),
        ("import re\nf = re.match", "with its pattern"),
    ],
)
def test_an_expression_that_the_tests_cannot_see_is_a_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, complaint: str
) -> None:
    package = tmp_path / "hidden_expressions"
    package.mkdir()
    (package / "__init__.py").write_text(line)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "hidden_expressions", raising=False)
    with pytest.raises(Unreadable, match=complaint):
        list(expressions(package))


def test_the_uses_of_a_named_expression_are_those_of_all_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shared_expressions"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import re\n_a = '9+'\nNUMBER = re.compile(_a + 'x', re.ASCII)\n_b = NUMBER.match"
    )
    (package / "other.py").write_text("from . import NUMBER\ndef f(a): return NUMBER.sub('', a)")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [(one.pattern, one.method) for one in expressions(package)] == [("9+x", "match"), ("9+x", "sub")]
