"""JSON bodies of the lean path are those of httpx, byte for byte."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.http.plan.json_body import LONG, Json

FAMILIES = pytest.mark.parametrize("lib", [httpx, httpx2], ids=["httpx", "httpx2"])
LONG_TEXTS = st.builds(
    lambda fill, odd, at, times: fill * at + odd + fill * (times - at),
    st.sampled_from(["x", " ", "~", "\x7f", "é", "\u2028"]),
    st.sampled_from(["", '"', "\\", "\n", "\x00", "\x1f", "ü", "\U0001f600"]),
    st.integers(0, LONG),
    st.integers(LONG, 2 * LONG),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | LONG_TEXTS
NAMES = st.text(max_size=5) | st.integers() | st.none() | LONG_TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=8
)


def outcome(encode: Any, value: Any) -> Any:
    try:
        return encode(value)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


def theirs(lib: Any) -> Any:
    content = sys.modules[f"{lib.__name__}._content"]
    return lambda value: b"".join(content.encode_json(value)[1])


@FAMILIES
@given(VALUES)
def test_bodies_are_those_of_the_library(lib: Any, value: Any) -> None:
    assert outcome(Json(lib).encode, value) == outcome(theirs(lib), value)


@FAMILIES
@pytest.mark.parametrize("odd", [object(), {1, 2}, float("nan"), b"bytes"])
def test_what_is_no_json_is_refused_in_the_same_words(lib: Any, odd: Any) -> None:
    for value in (odd, {"odd": odd}, {"text": "x" * LONG, "odd": odd}, {"odd": odd, "text": "x" * LONG}):
        assert outcome(Json(lib).encode, value) == outcome(theirs(lib), value)


@FAMILIES
def test_a_circle_is_refused_in_the_same_words(lib: Any) -> None:
    value: dict[str, Any] = {"text": "x" * LONG, "list": []}
    value["list"].append(value)
    assert outcome(Json(lib).encode, value) == outcome(theirs(lib), value)


@FAMILIES
def test_another_encoder_in_the_librarys_place_is_used(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Json(lib)
    monkeypatch.setattr(f"{lib.__name__}._content.json_dumps", lambda *args, **kwargs: "mine")
    assert made.encode({"text": "x" * LONG}) == b"mine"
