"""A pattern matches as `re` does where the two agree on the syntax, and no pattern hangs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.routing.regex import LARGEST_CACHE, Regex

atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\W", "c", "", "-", "[a-c0-9]"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??"])
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, repeated).map(lambda two: f"({two[0]}){two[1]}"),
        inner.map(lambda one: f"(?i:{one})"),
        inner.map(lambda one: f"^{one}$"),
    )


patterns = st.recursive(atoms, grown, max_leaves=6)
texts = st.text("abcA1-\n", max_size=8)


@settings(max_examples=400)
@given(pattern=patterns, text=texts)
def test_matches_what_re_matches(pattern: str, text: str) -> None:
    theirs = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    assert Regex(pattern).matches(text) == bool(theirs.fullmatch(text))
    assert Regex(pattern, search=True).matches(text) == bool(theirs.search(text))


@settings(max_examples=300)
@given(pattern=patterns.filter(lambda text: "?" not in text and "{0" not in text), text=texts)
def test_finds_the_leftmost_match_that_re_finds(pattern: str, text: str) -> None:
    theirs = re.compile(pattern.replace("$", r"\Z"), re.ASCII).search(text)
    ours, _ = Regex(pattern)._find(text, 0)
    assert (ours and ours[:2]) == (list(theirs.span()) if theirs else None)


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("/users/[[:digit:]]+", ["/users/12"], ["/users/x", "/users/"]),
        (r"\Qa.b\E.*", ["a.bc"], ["axbc"]),
        (r"(?P<id>\d+)-(?<tail>x)", ["1-x"], ["-x"]),
        ("(?i)jason", ["JaSon"], ["jasonx"]),
        (r"\x41\x{1F600}\.\/", ["A\U0001f600./"], ["A"]),
        ("^(.*?;)?(user=jason)(;.*)?$", ["user=jason", "a=b;user=jason;c=d"], ["user=jasonx"]),
        ("a{,2}", ["a{,2}"], ["a", "aa"]),
        ("[]a-]+", ["]a-"], ["b"]),
        (r"[\w.-]+", ["a.b-c_1"], ["ä", ""]),
        (r"[^\D]", ["1"], ["a"]),
        (r"[[:^digit:]x]", ["a"], ["1"]),
        ("(?s).", ["\n"], []),
        (".", ["ä"], ["\n"]),
        ("a$b", [], ["ab"]),
    ],
)
def test_re2s_syntax(pattern: str, hits: list[str], misses: list[str]) -> None:
    assert [text for text in hits if not Regex(pattern).matches(text)] == []
    assert [text for text in misses if Regex(pattern).matches(text)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[",
        "[a",
        "*",
        "a**",
        "a++",
        "+a",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "\\1",
        "\\b",
        "\\pL",
        "(?P=a)",
        "[b-a]",
        "a{1001}",
        "(a{100}){100}",
        "((a{30}){30}){30}",
        "\\",
        "(?",
        "(?P<",
        "[[:x:]]",
        "a{2,1}",
        "\\x4",
        "(?z)a",
        "\\x{110000}",
        "(" * 5000 + ")" * 5000,
        "a" * 5000,
        "(?:" * 100 + "a" + ")*" * 100,
    ],
)
def test_what_cannot_be_linear_or_is_malformed_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^regex: "):
        Regex(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", r"(\w+\s?)*$", ".*.*.*.*=.*", "(a?){50}a{50}", "(.*a){20}"]
)
@pytest.mark.parametrize("search", [False, True])
def test_no_text_makes_a_pattern_slow(pattern: str, search: bool) -> None:
    regex = Regex(pattern, search=search)
    regex.matches("a" * 20_000 + "!")
    Regex(pattern).substitute("a" * 50 + "!", "")


def test_no_text_makes_a_substitution_start_over_and_over() -> None:
    changed = Regex("a*b|a").substitute("a" * 1_000, "x")
    assert changed.startswith("xxxxxxxx")
    assert changed.endswith("aaaaaaaa")


def test_the_cache_of_states_is_bounded() -> None:
    regex = Regex("(?s).*")
    regex.matches("".join(chr(code) for code in range(0x20, 0xD000)))
    assert (
        len(regex._first.following) + sum(len(state.following) for state in regex._known.values()) <= LARGEST_CACHE + 2
    )


@given(pattern=st.text("ab()[]{}*+?|^$\\.-:=!<>P,1dQEix", max_size=20), text=texts)
def test_any_text_is_a_pattern_or_a_value_error(pattern: str, text: str) -> None:
    try:
        regex = Regex(pattern)
    except ValueError:
        return
    regex.matches(text)
    regex.substitute(text, r"\1")


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "result"),
    [
        (r"^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
        ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
        ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
        ("^(.*?)one(.*)$", r"\1two\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"),
        ("x*", "-", "abc", "-a-b-c-"),
        ("b", r"[\0\\]", "abc", "a[b\\]c"),
        ("(a)|b", r"<\1>", "ab", "<a><>"),
    ],
)
def test_substitution_is_re2s(pattern: str, replacement: str, text: str, result: str) -> None:
    assert Regex(pattern).substitute(text, replacement) == result
