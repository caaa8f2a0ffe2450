"""A name that was a service does not go out as an unknown host, until a configuration names it as one that may."""

from __future__ import annotations

import pytest

from meshlib.routing import former
from meshlib.routing.binding import Interpreter
from meshlib.routing.dtab_reader import read_dtab, read_path
from meshlib.routing.dtab_router import DtabRouter
from meshlib.routing.match import Match, Text
from meshlib.routing.namer import SourceNamer
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Decision, Route
from meshlib.routing.split import Split
from meshlib.routing.table import Resolver, RouteTable, ServiceRoutes


def to(name: str, *hosts: str) -> ServiceRoutes:
    return ServiceRoutes(name, hosts=hosts, default=Split(name))


def straight(name: str, *hosts: str) -> ServiceRoutes:
    return ServiceRoutes(name, hosts=hosts, routes=[Route(outside=True)])


def asked(table: RouteTable, host: str, path: str = "/") -> Decision | None:
    return table.resolve(RouteRequest(host, path=path), lambda: 0.5)


def fate(table: RouteTable, host: str) -> str:
    """What becomes of a request: `out`, `refused`, or the cluster to which it goes."""
    decision = asked(table, host)
    if decision is None or (decision.cluster is None and decision.route.outside):
        return "out"
    return decision.cluster or "refused"


def series(*tables: RouteTable) -> RouteTable:
    """The last of some tables that were published one after the other."""
    last, *others = tables
    for table in others:
        last = table.after(last)
    return last


def test_a_name_whose_service_is_gone_is_refused_in_words_that_say_what_to_do() -> None:
    table = series(RouteTable([to("users"), to("orders")]), RouteTable([to("orders")]))
    decision = asked(table, "users:8080")
    assert decision is not None and decision.service == "users" and decision.refused is not None
    assert "was a name of service 'users'" in decision.refused
    assert "nothing was sent" in decision.refused and "list the host under `egress: hosts`" in decision.refused
    assert fate(table, "orders") == "orders"
    assert fate(table, "elsewhere") == "out"


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (["users"], "USERS"),
        (["users"], "users."),
        (["users"], "users.:443"),
        (["users"], "users:443"),
        (["users", "users.internal"], "users.internal"),
        (["users:9990"], "users:9990"),
        (["*.example.com"], "a.b.example.com:80"),
        (["web.*"], "web.eu."),
        (["*"], "anything"),
        (["[::1]"], "[::1]:80"),
    ],
)
def test_every_spelling_and_every_host_of_a_service_is_remembered(hosts: list[str], host: str) -> None:
    before = RouteTable([to("x", *hosts), to("stays")])
    assert fate(before, host) == "x"
    assert fate(series(before, RouteTable([to("stays")])), host) == "refused"


def test_a_port_that_was_no_service_is_not_remembered() -> None:
    assert fate(series(RouteTable([to("x", "users:9990")]), RouteTable()), "users:80") == "out"


def test_a_host_that_a_service_no_longer_lists_is_remembered() -> None:
    table = series(RouteTable([to("users", "users", "people")]), RouteTable([to("users", "users")]))
    assert (fate(table, "users"), fate(table, "people")) == ("users", "refused")


def test_the_memory_outlives_any_number_of_tables_and_ends_where_the_name_is_a_service_again() -> None:
    empty = RouteTable()
    table = series(RouteTable([to("users")]), empty, empty, RouteTable([to("orders")]), empty, RouteTable([to("web")]))
    assert [fate(table, host) for host in ("users", "orders", "web")] == ["refused", "refused", "web"]
    back = RouteTable([to("users", "users", "orders")]).after(table)
    assert (fate(back, "users"), fate(back, "orders"), fate(back, "web")) == ("users", "users", "refused")
    assert fate(RouteTable().after(back), "users") == "refused"


def test_a_table_without_anything_to_remember_is_the_same_object() -> None:
    before, table = RouteTable([to("users")]), RouteTable([to("users"), to("orders")])
    assert table.after(before) is table and table.after(table) is table


def test_a_changed_service_forgets_nothing() -> None:
    table = series(RouteTable([to("users"), to("orders")]), RouteTable([to("orders")]))
    assert fate(table.replacing(to("orders", "o")), "users") == "refused"
    assert fate(table.replacing(to("orders", "o")), "orders") == "refused"


# --- what may go out all the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", ["users", "Users.", "*", "us*"])
def test_a_name_that_is_listed_goes_out_as_long_as_it_is_listed(listed: str) -> None:
    before, after = RouteTable([to("users")]), RouteTable(outside=[listed], unknown="refused")
    table = series(before, after)
    assert fate(table, "users:80") == "out"
    assert fate(RouteTable(outside=["elsewhere"]).after(table), "users") == "refused"


def rules(*matches: Match) -> ServiceRoutes:
    return ServiceRoutes("egress", routes=[Route(match=list(matches), outside=True)])


@pytest.mark.parametrize(
    ("unknown", "found"),
    [
        (None, "refused"),
        ("egress is refused", "refused"),
        (rules(), "refused"),
        (rules(Match(path="/")), "refused"),
        (rules(Match(hosts=[Text(exact="users")])), "out"),
        (rules(Match(hosts=[Text(exact="orders"), Text(suffix="rs")])), "out"),
        (rules(Match(hosts=[Text(exact="orders", invert=True)])), "refused"),
        (rules(Match(hosts=[Text(present=True)])), "refused"),
        (ServiceRoutes("egress", default=Split("proxy")), "refused"),
        (ServiceRoutes("egress", routes=[Route(match=Match(hosts=[Text(exact="users")]), to=Split("proxy"))]), "proxy"),
    ],
)
def test_of_the_rules_for_unknown_hosts_only_one_that_names_the_host_counts(
    unknown: Resolver | str | None, found: str
) -> None:
    assert fate(series(RouteTable([to("users")]), RouteTable(unknown=unknown)), "users") == found


def test_a_service_that_names_the_host_may_lead_straight_out_and_a_wildcard_may_not() -> None:
    before = RouteTable([to("users", "a.example.com")])
    named = RouteTable([straight("users", "a.example.com")]).after(before)
    assert {fate(named, host) for host in ("a.example.com", "A.Example.com.:80", "a.example.com:443")} == {"out"}
    assert fate(RouteTable().after(named), "a.example.com") == "refused", "it was a service once"
    assert fate(RouteTable([straight("all", "*.example.com")]).after(before), "a.example.com") == "refused"
    assert fate(RouteTable([straight("all", "*.example.com")]).after(before), "b.example.com") == "out"
    wide = RouteTable([to("users", "*.example.com")])
    assert fate(RouteTable([straight("users", "*.example.com")]).after(wide), "b.example.com") == "refused"
    assert fate(RouteTable([straight("all", "*")], outside=["a.example.com"]).after(before), "a.example.com") == "out"


def test_a_host_that_always_led_straight_out_was_no_service_of_the_mesh() -> None:
    assert fate(series(RouteTable([straight("api", "api.example.com")]), RouteTable()), "api.example.com") == "out"


# --- dtabs -----------------------------------------------------------------------------------------------------------


def dtab(entries: str) -> DtabRouter:
    namers = [(read_path("/#/clusters"), SourceNamer(read_path("/#/clusters"), {"users": "users"}))]
    return DtabRouter(Interpreter(read_dtab(entries), namers=namers), clusters={"users"})


def test_a_dtab_may_take_the_name_over_but_not_lead_it_straight_out() -> None:
    before = RouteTable([to("users"), to("10.0.0.1")])
    table = RouteTable(unknown=dtab("/svc => /#/clusters")).after(before)
    assert fate(table, "users") == "users"
    entries = "/svc/10.0.0.1 => /$/inet/10.0.0.1/80; /svc/h => /$/inet/h/80"
    table = RouteTable(unknown=dtab(entries)).after(before)
    assert (fate(table, "10.0.0.1"), fate(table, "h")) == ("refused", "out")


def test_after_a_dtab_every_host_may_have_been_one_of_its_names() -> None:
    with_dtab = RouteTable([to("web")], unknown=dtab("/svc => /#/clusters"))
    table = RouteTable([to("web")], outside=["api.example.com"]).after(with_dtab)
    assert [fate(table, host) for host in ("web", "users", "api.example.com")] == ["web", "refused", "out"]
    decision = asked(table, "users")
    assert decision is not None and "name of the dtab" in str(decision.refused)
    assert fate(RouteTable().after(table), "users") == "refused"
    again = RouteTable(unknown=dtab("/svc/h => /$/inet/h/80")).after(table)
    assert fate(again, "h") == "out", "the dtab is back, and says so itself"


# --- the bound -------------------------------------------------------------------------------------------------------


def test_beyond_the_bound_no_unknown_host_goes_out_and_no_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "LARGEST", 1 << 20)
    table = RouteTable()
    for number in range(200):  # fresh names with each
        table = RouteTable([to(f"s-{number}-{one:04}") for one in range(100)]).after(table)
        assert sum(map(len, table._former.hosts.entries)) + 100 * len(table._former.hosts.entries) <= 1 << 20
    assert table._former.full and not table._former.hosts.entries
    assert fate(table, "s-0-0000") == "refused" and fate(table, "s-199-0000") == "s-199-0000"
    decision = asked(table, "elsewhere")
    assert decision is not None and "more names were removed than 1 MB can hold" in str(decision.refused)
    assert fate(RouteTable(outside=["elsewhere"]).after(table), "elsewhere") == "out"


def test_long_names_count_by_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "LARGEST", 10_000)
    assert series(RouteTable([to("x" * 9_000)]), RouteTable())._former.full is False
    assert series(RouteTable([to("x" * 10_000)]), RouteTable())._former.full is True
