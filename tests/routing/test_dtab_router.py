"""A dtab decides about a request, and a request may bring its own entries only where that is allowed."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigError
from meshlib.routing.binding import Interpreter
from meshlib.routing.dtab import Dtab
from meshlib.routing.dtab_override import Override, context_header, without_context
from meshlib.routing.dtab_reader import read_dtab, read_path
from meshlib.routing.dtab_router import DtabRouter
from meshlib.routing.identifiers import HeaderIdentifier, HeaderTokenIdentifier, PathIdentifier
from meshlib.routing.namer import SourceNamer
from meshlib.routing.path import Path
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Decision
from meshlib.routing.split import Split, Sticky, StickyKey
from meshlib.routing.table import RouteTable, ServiceRoutes

FS = read_path("/#/io.l5d.fs")
CLUSTERS = {name: name for name in ("users", "users-v2", "orders")}
NAMERS = [(FS, SourceNamer(FS, CLUSTERS))]


def router(dtab: str = "/svc => /#/io.l5d.fs", **more: object) -> DtabRouter:
    return DtabRouter(Interpreter(dtab, namers=NAMERS), **more)


def ask(router: DtabRouter, host: str = "users", draw: float = 0.5, path: str = "/", **headers: str) -> Decision:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return router.resolve(RouteRequest(host, path=path, header=named.get), lambda: draw)


def test_linkerds_own_dtab_works() -> None:
    decision = ask(router())
    assert (decision.cluster, decision.service, decision.refused) == ("users", "/svc/users", None)
    assert dict(decision.route.headers.set) == {
        "l5d-dst-service": "/svc/users",
        "l5d-dst-client": "/#/io.l5d.fs/users",
    }


def test_it_serves_the_hosts_that_no_service_takes() -> None:
    table = RouteTable([ServiceRoutes("orders", default=Split("orders-native"))], unknown=router())
    found = [table.resolve(RouteRequest(host), lambda: 0.5).cluster for host in ("orders", "users")]
    assert found == ["orders-native", "users"]


def test_a_union_is_drawn_by_weight() -> None:
    split = router("/svc => /#/io.l5d.fs; /svc/users => 9 * /#/io.l5d.fs/users & 1 * /#/io.l5d.fs/users-v2")
    assert [ask(split, draw=draw).cluster for draw in (0.0, 0.89, 0.91)] == ["users", "users", "users-v2"]


def test_a_sticky_union_keeps_a_user_and_the_shares() -> None:
    dtab = "/svc => 9 * /#/io.l5d.fs/users & 1 * /#/io.l5d.fs/users-v2"
    split = router(dtab, sticky=Sticky(StickyKey("header", "x-user")))
    dice = Dice(3)
    chosen = {user: ask(split, draw=dice.random(), x_user=str(user)).cluster for user in range(5_000)}
    assert chosen == {user: ask(split, draw=dice.random(), x_user=str(user)).cluster for user in range(5_000)}
    assert abs(Counter(chosen.values())["users-v2"] / 5_000 - 0.1) < 0.02


def test_what_is_left_over_is_announced() -> None:
    decision = ask(router(identifiers=[HeaderIdentifier()]), l5d_name="/users/v1/me")
    assert decision.bound.residual == Path("v1", "me")
    assert dict(decision.route.headers.set)["l5d-dst-residual"] == "/v1/me"
    assert ask(router(announce=False)).plain


def test_a_path_that_named_the_service_is_taken_away() -> None:
    decision = ask(router(identifiers=[PathIdentifier(consume=True)]), path="/users/v1/me")
    assert decision.route.rewrite.rewritten("/users/v1/me", decision.matched) == "/v1/me"
    assert decision.route.rewrite.rewritten("/users/v2/you", decision.matched) == "/v2/you"


def test_the_first_identifier_that_finds_a_name_wins() -> None:
    both = router(identifiers=[HeaderIdentifier(), HeaderTokenIdentifier()])
    assert ask(both, l5d_name="/orders").cluster == "orders"
    assert ask(both).cluster == "users"
    assert "l5d-name header is absent; host header is absent" in ask(both, host="").refused


@pytest.mark.parametrize(
    ("dtab", "reason"),
    [
        ("", "/svc/users: the dtab leads to no cluster"),
        ("/svc => !", "leads to no cluster"),
        ("/svc => $", "leads to no cluster"),
        ("/svc => /svc", "Max recursion level"),
        ("/svc => /$/no.such", "Unknown namer: no.such"),
        ("/svc => 9 * $ & 1 * /#/io.l5d.fs", "this branch of the dtab is empty"),
    ],
)
def test_what_cannot_be_bound_is_refused_with_a_reason(dtab: str, reason: str) -> None:
    decision = ask(router(dtab))
    assert decision.cluster is None
    assert reason in decision.refused


def test_a_namer_that_has_not_answered_is_asked_again() -> None:
    waiting = SourceNamer(FS, None)
    patient = DtabRouter(Interpreter("/svc => /#/io.l5d.fs", namers=[(FS, waiting)]))
    assert "not known yet" in ask(patient).refused
    waiting.clusters = CLUSTERS
    assert ask(patient).cluster == "users"


ONE = "/svc/users => /svc/users-v2"
BACK = "/svc/users => /#/io.l5d.fs/orders"


def test_overrides_are_off_by_default() -> None:
    assert ask(router(), l5d_dtab=ONE, l5d_ctx_dtab=ONE, dtab_local=ONE).cluster == "users"


def test_an_override_comes_after_the_dtab_and_the_users_last() -> None:
    user, both = router(override=Override(user=True)), router(override=Override(user=True, context=True))
    assert ask(user, l5d_dtab=ONE).cluster == "users-v2"
    assert ask(user, l5d_ctx_dtab=ONE).cluster == "users"
    assert ask(both, l5d_ctx_dtab=ONE).cluster == "users-v2"
    assert ask(both, l5d_ctx_dtab=ONE, l5d_dtab=BACK).cluster == "orders"
    assert ask(both, l5d_dtab=f"{BACK},{ONE}").cluster == "users-v2"
    assert ask(user).cluster == "users"


def test_an_override_travels_on_as_context() -> None:
    decision = ask(router(override=Override(user=True)), l5d_dtab=ONE)
    assert decision.route.headers.applied([("L5d-Dtab", ONE)])[0] == ("l5d-ctx-dtab", "/svc/users=>/svc/users-v2")
    assert context_header(read_dtab(ONE)) == ("l5d-ctx-dtab", "/svc/users=>/svc/users-v2")
    assert context_header(Dtab()) is None


def test_a_bad_override_is_refused_with_its_place() -> None:
    hearing = router(override=Override(user=True, legacy=True))
    assert (
        "the request's own dtab: dtab: '/' expected but 'n' found at '[n]ope'" in ask(hearing, l5d_dtab="nope").refused
    )
    assert "at most 100 entries" in ask(hearing, l5d_dtab="/a=>/b;" * 101).refused
    assert "in pairs" in ask(hearing, x_dtab_00_a="eA==").refused
    assert "base64" in ask(hearing, x_dtab_00_a="?", x_dtab_00_b="?").refused


def test_finagles_older_headers_can_be_heard() -> None:
    def encoded(text: str) -> str:
        return b64encode(text.encode()).decode()

    old = router(override=Override(legacy=True))
    assert ask(old, dtab_local=f"/x=>/y, {ONE}").cluster == "users-v2"
    assert ask(old, x_dtab_00_a=encoded("/svc/users"), x_dtab_00_b=encoded("/svc/orders | ~")).cluster == "orders"


def test_at_the_edge_nothing_that_steers_the_mesh_comes_in() -> None:
    headers = [("L5d-Dtab", "x"), ("l5d-ctx-trace", "x"), ("X-Dtab-00-A", "x"), ("dtab-local", "x"), ("accept", "*")]
    assert without_context(headers) == [("accept", "*")]


def test_bound_names_are_kept_but_not_without_bound() -> None:
    hearing = router(override=Override(user=True))
    for number in range(2_500):
        ask(hearing, l5d_dtab=f"/x/{number} => /y")
    assert len(hearing._bound) <= 1_000


@given(text=st.text("/svcuer#*|&!~$()=>; .,1", max_size=40))
def test_no_override_can_break_a_request(text: str) -> None:
    hearing = router(override=Override(user=True, context=True, legacy=True))
    decision = ask(hearing, l5d_dtab=text, dtab_local=text)
    assert (decision.cluster is None) is (decision.refused is not None)


def test_a_dtab_with_a_mistake_is_no_interpreter() -> None:
    with pytest.raises(ConfigError, match="simple expected"):
        Interpreter("/a => ")
