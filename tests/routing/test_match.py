"""A condition holds if everything in it holds; the index never changes which rule comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.routing.match import ExactPath, Match, PrefixPath, RegexPath, TemplatePath, Text, path_matcher
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable, ServiceRoutes


def ask(path: str = "/", method: str = "GET", query: str = "", **headers: str) -> RouteRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RouteRequest("users", method, path, query, named.get, {"env": "staging", "app": "shop"})


@pytest.mark.parametrize(
    ("matcher", "hits", "misses"),
    [
        (ExactPath("/a"), ["/a"], ["/a/", "/", "/A", "/ab"]),
        (ExactPath("/a", ignore_case=True), ["/a", "/A"], ["/b"]),
        (PrefixPath("/a"), ["/a", "/a/", "/a/b"], ["/ab", "/", "/A"]),
        (PrefixPath("/a/"), ["/a", "/a/b"], ["/ab"]),
        (PrefixPath("/"), ["/", "/x"], []),
        (PrefixPath("/a", segments=False), ["/a", "/ab", "/a/b"], ["/b"]),
        (PrefixPath("/a", ignore_case=True), ["/A/b"], ["/Ab"]),
        (RegexPath("/v[12]/.*"), ["/v1/", "/v2/x"], ["/v3/x", "/x/v1/"]),
        (TemplatePath("/users/{id}"), ["/users/7"], ["/users/", "/users", "/users/7/x"]),
        (TemplatePath("/users/{id}.json"), ["/users/7.json"], ["/users/.json", "/users/7"]),
        (TemplatePath("/users/*/files/{rest=**}"), ["/users/7/files/a/b", "/users/7/files"], ["/users/7/a"]),
        (TemplatePath("/"), ["/"], ["/x"]),
    ],
)
def test_paths(matcher: Match, hits: list[str], misses: list[str]) -> None:
    assert [path for path in hits if not matcher.test(path)] == []
    assert [path for path in misses if matcher.test(path)] == []


def test_the_short_way_to_write_a_path() -> None:
    assert isinstance(path_matcher("/a/*"), PrefixPath)
    assert isinstance(path_matcher("/*"), PrefixPath)
    assert isinstance(path_matcher("/a/{id}"), TemplatePath)
    assert isinstance(path_matcher("/a/*/b"), TemplatePath)
    assert isinstance(path_matcher("/a"), ExactPath)


@pytest.mark.parametrize(
    ("text", "hits", "misses"),
    [
        (Text(exact="a"), ["a"], ["A", "", None]),
        (Text(exact="a", ignore_case=True), ["a", "A"], ["b", None]),
        (Text(prefix="a"), ["ab"], ["ba", None]),
        (Text(suffix="a"), ["ba"], ["ab", None]),
        (Text(contains="a"), ["bab"], ["b", None]),
        (Text(regex="a+"), ["aa"], ["ab", None]),
        (Text(regex="A+", ignore_case=True), ["aa"], ["b"]),
        (Text(present=True), ["", "a"], [None]),
        (Text(present=False), [None], ["", "a"]),
        (Text(exact="a", invert=True), ["b", None], ["a"]),
        (Text(present=True, invert=True), [None], ["a"]),
    ],
)
def test_texts(text: Text, hits: list[str | None], misses: list[str | None]) -> None:
    assert [value for value in hits if not text.test(value)] == []
    assert [value for value in misses if text.test(value)] == []


def test_every_part_of_a_condition_must_hold() -> None:
    match = Match(
        path="/a/*",
        methods=["get", "POST"],
        headers={"X-User": "7"},
        query={"q": Text(prefix="b")},
        cookies={"tint": "blue"},
        labels={"app": "shop"},
        env="staging",
    )
    good = ask("/a/b", query="q=bc&q=x", x_user="7", cookie='x=y; tint="blue"')
    assert match.matches(good)
    assert match.why_not(good) is None
    assert match.why_not(ask("/b")) == "path '/b' is not path prefix '/a'"
    assert match.why_not(ask("/a", "PUT")) == "method is not GET or POST"
    assert match.why_not(ask("/a", x_user="8")) == "header 'x-user' is not exact '7'"
    assert not match.matches(ask("/a/b", query="q=bc", x_user="7"))
    assert Match().matches(ask())


def test_ports_are_those_of_the_url_or_the_scheme() -> None:
    match = Match(ports=[443, 8080])
    hosts = {"a": "https", "b:8080": "http", "c": "http", "[::1]:443": "http", "d:80": "https"}
    found = [host for host, scheme in hosts.items() if match.matches(RouteRequest(host, scheme=scheme))]
    assert found == ["a", "b:8080", "[::1]:443"]


def test_what_was_given_can_be_read_back() -> None:
    match = Match(methods=["get"], headers={"X": "1"}, query={"q": Text(present=False)}, env="prod")
    assert (match.methods, match.headers["x"].kind, match.headers["x"].value) == (("GET",), "exact", "1")
    assert (match.query["q"].kind, match.query["q"].invert, match.labels["env"].value) == ("present", True, "prod")


def service(*rules: Match) -> ServiceRoutes:
    routes = [Route(name=str(n), match=rule, to=Split(f"c{n}")) for n, rule in enumerate(rules)]
    return ServiceRoutes("users", routes=routes, default=Split("default"))


segments = st.sampled_from(["a", "b", "ab", ""])
paths = st.lists(segments, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
matchers = st.one_of(
    st.none(),
    paths.map(ExactPath),
    paths.map(PrefixPath),
    st.builds(ExactPath, paths, ignore_case=st.just(True)),
    st.builds(PrefixPath, paths, segments=st.booleans(), ignore_case=st.booleans()),
    paths.map(lambda path: RegexPath(path + "[a/]*")),
    paths.map(lambda path: RegexPath(path + "?")),
    paths.map(lambda path: TemplatePath(path + "/{x}")),
    paths.map(lambda path: TemplatePath(path + "/**")),
)
rules = st.builds(lambda path, post: Match(path=path, methods=["POST"] if post else []), matchers, st.booleans())


@given(rules=st.lists(rules, max_size=12), path=paths, method=st.sampled_from(["GET", "POST"]))
def test_the_index_finds_what_a_scan_finds(rules: list[Match], path: str, method: str) -> None:
    request = ask(path, method)
    scanned = next((f"c{n}" for n, rule in enumerate(rules) if rule.matches(request)), "default")
    assert RouteTable([service(*rules)]).resolve(request, lambda: 0.0).cluster == scanned


def test_one_rule_may_have_many_alternatives() -> None:
    route = Route(name="both", match=[Match(path="/a"), Match(path="/b", methods=["PUT"])], to=Split("v2"))
    table = RouteTable([ServiceRoutes("users", routes=[route], default=Split("v1"))])
    found = [table.resolve(ask(path), lambda: 0.0).cluster for path in ("/a", "/b", "/c")]
    assert found == ["v2", "v1", "v1"]
    assert table.resolve(ask("/b", "PUT"), lambda: 0.0).matched is route.match[1]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ExactPath("a"), "path"),
        (lambda: TemplatePath("/{a}/{a}"), "template"),
        (lambda: TemplatePath("/{a"), "template"),
        (lambda: TemplatePath("/a/**/b"), "template"),
        (lambda: TemplatePath("/{a}{b}"), "template"),
        (lambda: Text(), "exact"),
        (lambda: Text(exact="a", present=True), "exact"),
        (lambda: RegexPath("("), "regex"),
    ],
)
def test_nonsense_is_refused_by_field(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()
