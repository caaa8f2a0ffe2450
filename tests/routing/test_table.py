"""A table finds the service of a host, and the first rule that matches decides."""

from __future__ import annotations

import pytest

from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable, ServiceRoutes


class Method:
    def __init__(self, method: str) -> None:
        self.method = method

    def matches(self, request: RouteRequest) -> bool:
        return request.method == self.method


def half() -> float:
    return 0.5


def cluster(table: RouteTable, host: str, method: str = "GET") -> str | None:
    decision = table.resolve(RouteRequest(host, method), half)
    return None if decision is None else decision.cluster


def to(name: str, *hosts: str) -> ServiceRoutes:
    return ServiceRoutes(name, hosts=hosts, default=Split(name))


def test_a_plain_split_decides_with_one_draw() -> None:
    table = RouteTable([ServiceRoutes("users", default=Split({"users-v1": 90, "users-v2": 10}))])
    draws = iter([0.89, 0.9])
    assert table.resolve(RouteRequest("users"), lambda: next(draws)).cluster == "users-v1"
    assert table.resolve(RouteRequest("users"), lambda: next(draws)).cluster == "users-v2"


def test_the_first_rule_that_matches_wins_and_the_default_comes_last() -> None:
    routes = [
        Route(name="writes", match=Method("POST"), to=Split("primary")),
        Route(name="again", match=[Method("PUT"), Method("POST")], to=Split("other"), timeout=2.0),
    ]
    table = RouteTable([ServiceRoutes("users", routes=routes, default=Split("replica"))])
    assert cluster(table, "users", "POST") == "primary"
    assert cluster(table, "users", "GET") == "replica"
    decision = table.resolve(RouteRequest("users", "PUT"), half)
    assert (decision.cluster, decision.rule, decision.route.name, decision.route.timeout) == ("other", 1, "again", 2.0)


def test_without_a_default_an_unmatched_request_is_refused_with_a_reason() -> None:
    table = RouteTable([ServiceRoutes("users", routes=[Route(match=Method("POST"), to=Split("v1"))])])
    decision = table.resolve(RouteRequest("users"), half)
    assert decision.cluster is None
    assert "no rule matches" in decision.refused


def test_hosts_go_from_exact_to_the_longest_suffix_to_the_longest_prefix_to_any() -> None:
    table = RouteTable(
        [
            to("exact", "a.example.com"),
            to("far", "*.com"),
            to("near", "*.example.com"),
            to("dash", "*-x.example.com"),
            to("head", "a.*"),
            to("longer-head", "a.b.*"),
            to("any", "*"),
        ]
    )
    for host, name in {
        "a.example.com": "exact",
        "A.Example.COM.": "exact",
        "a.example.com:8080": "exact",
        "b.example.com": "near",
        "b.c.example.com": "near",
        "q-x.example.com": "dash",
        "example.com": "far",
        "a.org": "head",
        "a.b.org": "longer-head",
        ".example.com": "far",
        "elsewhere": "any",
        "[::1]:80": "any",
    }.items():
        assert cluster(table, host) == name, host


def test_a_host_with_a_port_comes_before_one_without() -> None:
    table = RouteTable([to("admin", "users:9990"), to("users"), to("any", "*")])
    assert cluster(table, "users:9990") == "admin"
    assert cluster(table, "users:80") == "users"
    assert table.service("USERS:80").name == "users"
    assert table.service("*:9990").name == "any"
    assert RouteTable().service("users") is None


def test_unknown_hosts_are_let_out_refused_or_go_by_a_rule() -> None:
    known = to("users")
    assert RouteTable([known]).resolve(RouteRequest("example.com"), half) is None
    refusing = RouteTable([known], unknown="egress is closed").resolve(RouteRequest("example.com:443"), half)
    assert refusing.refused == "egress is closed"
    assert cluster(RouteTable([known], unknown=to("egress")), "example.com") == "egress"


def test_a_changed_service_leaves_the_old_table_as_it_was() -> None:
    before = RouteTable([to("users"), to("orders")])
    after = before.replacing(ServiceRoutes("users", default=Split("users-v2")))
    assert cluster(before, "users") == "users"
    assert cluster(after, "users") == "users-v2"
    assert after.services["orders"] is before.services["orders"]


def test_a_decision_is_plain_unless_there_is_something_to_do() -> None:
    assert RouteTable([to("users")]).resolve(RouteRequest("users"), half).plain


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ServiceRoutes(""), "name"),
        (lambda: ServiceRoutes("a", hosts=["a.*.b"]), "hosts"),
        (lambda: ServiceRoutes("a", hosts=["*a*"]), "hosts"),
        (lambda: RouteTable([to("a"), to("a")]), "services"),
        (lambda: RouteTable([to("a", "h"), to("b", "H")]), "hosts"),
        (lambda: Route(), "to"),
        (lambda: Route(to=Split("a"), timeout=0.0), "timeout"),
        (lambda: Route(to=Split("a"), timeout=float("nan")), "timeout"),
    ],
)
def test_nonsense_is_refused_by_field(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()
