"""Findings about a table: what is called unreachable really is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.routing.actions import Mirror
from meshlib.routing.check import findings
from meshlib.routing.match import ExactPath, Match, PrefixPath, RegexPath, TemplatePath, Text
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable, ServiceRoutes


def table(*matches: Match | list[Match], default: str | None = "default") -> RouteTable:
    routes = [Route(match=match, to=Split(f"c{n}")) for n, match in enumerate(matches)]
    return RouteTable([ServiceRoutes("users", routes=routes, default=default and Split(default))])


def told(table: RouteTable, **more: object) -> list[str]:
    return [str(finding) for finding in findings(table, **more)]


def test_a_sound_table_has_no_findings() -> None:
    assert told(table(Match(path="/a/b"), Match(path="/a/*"), Match(methods=["PUT"]))) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Match(path="/a/*"), Match(path="/a/b")),
        (Match(path="/a/*"), Match(path="/a/b/*", methods=["GET"])),
        (Match(path="/a/*"), Match(path=TemplatePath("/a/{id}"))),
        (Match(path="/a/*"), Match(path=RegexPath("/a/b/[0-9]+"))),
        (Match(path=RegexPath("/a.*")), Match(path=RegexPath("/a.*"))),
        (Match(path=RegexPath("/a.*")), Match(path="/ab")),
        (Match(headers={"x": "1"}), Match(path="/a", headers={"X": "1"}, env="prod")),
        (Match(methods=["GET", "POST"]), Match(methods=["POST"], path="/a")),
        (Match(path="/*"), Match()),
        (Match(), Match(path="/a")),
    ],
)
def test_a_rule_behind_a_wider_one_is_never_reached(first: Match, second: Match) -> None:
    assert "users, rule 2: is never reached: rule 1 takes all of it" in told(table(first, second))


def test_a_rule_with_alternatives_is_unreachable_only_if_all_of_them_are() -> None:
    wide = [Match(path="/a/*"), Match(path="/b/*")]
    assert told(table(*wide, [Match(path="/a/1"), Match(path="/b/1")])) == [
        "users, rule 3: is never reached: rule 1 and 2 takes all of it"
    ]
    assert told(table(*wide, [Match(path="/a/1"), Match(path="/c/1")])) == []


def test_names_and_sums_and_ends_are_checked() -> None:
    routes = [
        Route(name="a", match=Match(path="/a"), to=Split({"v1": 90, "v2": 9}), mirrors=[Mirror("shadow")]),
        Route(name="a", match=Match(path="/b"), to=Split({"v1": 2, "v2": 1})),
    ]
    assert told(RouteTable([ServiceRoutes("users", routes=routes)]), clusters={"v1", "v2"}) == [
        "users, rule 1: the weights of its split sum up to 99, not 100; they are taken as relative",
        "users, rule 1: names the cluster 'shadow', which does not exist",
        "users, rule 2: has the name 'a', as rule 1",
        "users, default: a request that no rule takes is refused, because there is no default",
    ]


paths = st.lists(st.sampled_from(["a", "b", "A"]), max_size=2).map(lambda parts: "/" + "/".join(parts))
matches = st.builds(
    Match,
    path=st.one_of(
        st.none(),
        st.builds(ExactPath, paths, ignore_case=st.booleans()),
        st.builds(PrefixPath, paths, segments=st.booleans(), ignore_case=st.booleans()),
        paths.map(lambda path: RegexPath(path + "/?[ab]*")),
        paths.map(lambda path: TemplatePath(path.rstrip("/") + "/{x}")),
    ),
    methods=st.sampled_from([[], ["GET"]]),
    headers=st.sampled_from([{}, {"x": "1"}, {"x": Text(exact="1", invert=True)}]),
)


@given(
    rules=st.lists(st.one_of(matches, st.lists(matches, min_size=1, max_size=2)), min_size=2, max_size=5),
    path=paths,
    method=st.sampled_from(["GET", "PUT"]),
    header=st.sampled_from([None, "1", "2"]),
)
def test_what_is_called_unreachable_is_never_reached(
    rules: list[Match | list[Match]], path: str, method: str, header: str | None
) -> None:
    checked = table(*rules)
    unreachable = {finding.rule for finding in findings(checked) if finding.kind == "unreachable"}
    decision = checked.resolve(RouteRequest("users", method, path, header={"x": header}.get), lambda: 0.5)
    assert decision.rule not in unreachable


@given(text=st.text("/{}*=ab.", max_size=12), path=st.text("/ab.", max_size=8))
def test_any_text_is_a_template_or_a_value_error(text: str, path: str) -> None:
    try:
        template = TemplatePath(text)
    except ValueError as error:
        assert str(error).startswith(("template: ", "path: "))
        return
    if template.test("/" + path):
        assert ("/" + path).startswith(template.literal)
        template.rewritten("/" + path, "/{a}{b}")
