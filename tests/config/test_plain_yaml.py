"""YAML as plain data: what PyYAML's safe loader reads is read alike, and what is beyond plain data is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib import ConfigError
from meshlib.config import plain_yaml
from meshlib.config.document import parse_document, parse_documents

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
keys = st.text("abcxyz -é", min_size=1, max_size=6).filter(lambda text: text.strip() == text)
data = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


@settings(max_examples=150, deadline=None)
@given(value=data, flow=st.sampled_from([True, False, None]), style=st.sampled_from([None, '"', "'"]))
def test_what_is_written_is_read_alike(value: Any, flow: bool | None, style: str | None) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, default_style=style, allow_unicode=True)
    assert parse_document(text, "a.yaml").data == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x {b: 1}\nc: *x\nd: [*x, *x]", {"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}, {"b": 1}]}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}], d: 1}", {"a": {"b": 1, "c": 2, "d": 1}}),
        ("on: 1\n2020-01-01: 2020-01-02\n1: no", {"on": 1, "2020-01-01": "2020-01-02", "1": False}),
        ("a: !!str 1\nb: !!int '2'\nc: !!float 3\nd: ! 4", {"a": "1", "b": 2, "c": 3.0, "d": "4"}),
        ("'on': 'on'", {"on": "on"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("[0x10, 0o7, 017, 1_000, .inf, ~, '']", [16, "0o7", 15, 1000, float("inf"), None, ""]),
        ("", None),
        ("# nothing\n", None),
    ],
)
def test_the_plain_things_are_read(text: str, value: Any) -> None:
    assert parse_document(text, "a.yaml").data == value


@pytest.mark.parametrize(
    ("text", "where", "why", "line"),
    [
        ("a: 1\nb:\n- c\n- !!python/object:os.system x\n", "b[1]", "unknown tag", 4),
        ("a: !!binary aGVsbG8=\n", "a", "unknown tag", 1),
        ("a:\n  ? [x]\n  : 1\n", "a", "a key that is no text", 2),
        ("a: *x\n", "a", "undefined alias", 1),
        ("a: &x [1, *x]\n", "a[1]", "undefined alias", 1),
        ("a: &x 1\n*x : 2\n", "(the whole file)", "an alias cannot be a key", 2),
        ("a: {<<: 1}\n", "a", "expected a mapping to merge", 1),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "a.b", "found twice", 4),
        ("a: !!int x\n", "a", "no int 'x'", 1),
        ("a: " + "9" * 5_000 + "\n", "a", "no int", 1),
        ("a: 1\nb: \x07\n", "(the whole file)", "the character '\\x07' is not allowed", 2),
        ("a: 1\n b: 2\n", "(the whole file)", "not YAML", 2),
        ("a: 1\n---\nb: 1\n", "(the whole file)", "a single document", 3),
        ("a: " + "[" * 70 + "\n", "a" + "[0]" * 60, "too deep or too large", 1),
    ],
)
def test_what_is_more_than_plain_data_is_refused_with_its_place(text: str, where: str, why: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "a.yaml")
    assert (caught.value.where, caught.value.line) == (where, line)
    assert why in caught.value.expected


class Strict(yaml.SafeLoader):
    """A parser with a limit and words of its own: it reads ahead, and fails before it gives an event."""

    def __init__(self, text: str) -> None:
        self.end = yaml.error.Mark("", 399, 0, 399, None, 0) if len(text) > 399 else None
        super().__init__(text)

    def check_event(self, *choices: Any) -> bool:
        if self.end is not None:
            raise yaml.MarkedYAMLError("while reading", None, "so viel Tiefe muss nicht sein", self.end)
        return super().check_event(*choices)


class OutOfStack(yaml.SafeLoader):
    def check_event(self, *choices: Any) -> bool:
        raise RecursionError("maximum recursion depth exceeded")


PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.mark.parametrize("parser", [*PARSERS, Strict, OutOfStack])
@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "[\n" * 3_000, "a: 1\nb: " + "[{c: " * 9_999, "[[x], " * 999],
)
def test_nesting_without_end_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, parser: Any, text: str) -> None:
    monkeypatch.setattr(plain_yaml, "_Loader", parser)
    with pytest.raises(ConfigError, match="too deep or too large"):
        parse_document(text, "a.yaml")


@pytest.mark.parametrize("parser", [*PARSERS, Strict])
@pytest.mark.parametrize(
    ("text", "where", "why", "line"),
    [
        ("\n\na:\n- b: " + "[" * 100_000, "a[0].b" + "[0]" * 58, "too deep or too large", 4),
        ("b: 1\nb: " + "[" * 5_000, "b", "found twice, expected once", 2),
        ("? " * 5_000, "(the whole file)", "a key that is no text", 1),
        ("- [!!set {a: " + "[" * 5_000, "[0][0]", "unknown tag 'tag:yaml.org,2002:set'", 1),
    ],
)
def test_what_is_wrong_with_a_deep_text_does_not_depend_on_the_parser(
    monkeypatch: pytest.MonkeyPatch, parser: Any, text: str, where: str, why: str, line: int
) -> None:
    monkeypatch.setattr(plain_yaml, "_Loader", parser)
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "a.yaml")
    assert (caught.value.where, caught.value.expected, caught.value.line) == (where, why, line)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_text_that_breaks_off_is_not_yaml_and_its_parts_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, parser: Any
) -> None:
    monkeypatch.setattr(plain_yaml, "_Loader", parser)
    for text in ("a: &x 1\nb: [*x%]\n", "a: 1\n b: 2\n", "[" * 30 + "}", "a: 'x\n"):
        with pytest.raises(ConfigError, match=r"\(the whole file\): not YAML: "):
            parse_document(text, "a.yaml")


def test_aliases_of_aliases_do_not_nest_without_end() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    with pytest.raises(ConfigError, match="too deep"):
        parse_document(text, "a.yaml")


def test_each_place_has_its_line_and_an_alias_that_of_its_use() -> None:
    first, second = parse_documents("a: &x\n  b: [1,\n    {c: 2}]\nd: *x\n---\n- e\n- f: g\n", "a.yaml")
    assert first.line(("a", "b", 1, "c")) == 3 and first.line(("a", "b", 0)) == 2 and first.line(("a",)) == 1
    assert first.line(("d", "b", 1)) == 4
    assert second.line((1, "f")) == 7 and second.line(()) == 6
    assert str(second.error((1, "f"), "no")) == "a.yaml:7: [1].f: no"
