"""The Gateway API's precedence, as a sort key."""

from __future__ import annotations

from random import Random as Dice

from meshlib.routing.match import Match, RegexPath
from meshlib.routing.precedence import gateway_rank, host_rank

ORDERED = [
    Match(path="/foo", methods=["GET"]),
    Match(path="/foo"),
    Match(path=RegexPath("/fo+")),
    Match(path="/foo/bar/*", headers={"a": "1"}),
    Match(path="/foo/*", methods=["GET"]),
    Match(path="/foo/*", headers={"a": "1", "b": "2"}),
    Match(path="/foo/*", headers={"a": "1"}, query={"q": "1"}),
    Match(path="/foo/*", headers={"a": "1"}),
    Match(path="/foo/*", query={"q": "1"}),
    Match(path="/*"),
]


def test_matches_are_sorted_as_the_gateway_api_says() -> None:
    shuffled = list(ORDERED)
    Dice(1).shuffle(shuffled)
    assert sorted(shuffled, key=gateway_rank) == ORDERED


def test_equals_keep_their_order() -> None:
    older, younger = Match(path="/a"), Match(path="/b")
    assert sorted([older, younger], key=gateway_rank) == [older, younger]


def test_hosts_without_a_wildcard_come_first_and_longer_ones_before_shorter() -> None:
    hosts = ["*.com", "a.com", "*.example.com", "foo.example.com"]
    assert sorted(hosts, key=host_rank) == ["foo.example.com", "a.com", "*.example.com", "*.com"]
