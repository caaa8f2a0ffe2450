"""A host map finds the entry that takes a host, however the caller writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.routing.hosts import HostMap, folded, pattern

ENTRIES = ("users", "users:9990", "[::1]", "*.example.com", "*.a.example.com", "web.*", "web.eu.*")


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("users", "users"),
        ("USERS", "users"),
        ("users.", "users"),
        ("users.:80", "users"),
        ("Users.:9990", "users:9990"),
        ("users:9990", "users:9990"),
        ("[::1]:80", "[::1]"),
        ("x.example.com:1", "*.example.com"),
        ("x.example.com.:1", "*.example.com"),
        ("x.a.example.com", "*.a.example.com"),
        ("example.com", None),
        ("web.us", "web.*"),
        ("web.eu.", "web.*"),
        ("web.eu.west", "web.eu.*"),
        ("user", None),
        ("", None),
    ],
)
def test_case_port_and_trailing_dot_do_not_hide_an_entry(host: str, entry: str | None) -> None:
    assert HostMap({one: one for one in ENTRIES}).find(host) == entry


def test_the_star_takes_what_nothing_else_takes() -> None:
    found = HostMap({"*": "any", "users": "users"})
    assert (found.find("users:80"), found.find("[::1]:80"), found.find("")) == ("users", "any", "any")


@given(
    name=st.from_regex(r"[a-zA-Z][a-zA-Z0-9.-]{0,8}[a-zA-Z]", fullmatch=True),
    port=st.sampled_from(["", ":80"]),
    dot=st.sampled_from(["", "."]),
)
def test_every_spelling_of_a_host_is_the_same_host(name: str, port: str, dot: str) -> None:
    assert folded(f"{name}{dot}{port}") == folded(f"{name.swapcase()}{port}")
    assert HostMap({pattern(name): 1}).find(f"{name.upper()}{dot}{port}") == 1


@given(
    st.lists(st.tuples(st.sampled_from(ENTRIES), st.booleans()), max_size=6),
    st.sampled_from(["users", "users:9990", "x.example.com", "x.a.example.com", "web.eu.x", "web.us"]),
)
def test_a_changed_map_is_as_one_made_of_the_same_entries(changes: list[tuple[str, bool]], host: str) -> None:
    changed, entries = HostMap[str]({}), dict[str, str]()
    for one, added in changes:
        kept = changed, dict(entries)
        changed = changed.changed({one: one} if added else {}, [] if added else [one])
        entries = {**entries, one: one} if added else {name: it for name, it in entries.items() if name != one}
        assert dict(kept[0].entries) == kept[1], "the map before stays as it was"
    assert dict(changed.entries) == entries
    assert changed.find(host) == HostMap(entries).find(host)


@pytest.mark.parametrize("text", ["", ".", "a*b", "**", "*a*"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most one"):
        pattern(text)
