"""An explanation says what was decided, step by step, and never decides otherwise."""

from __future__ import annotations

import json
from random import Random as Dice

from hypothesis import given
from hypothesis import strategies as st

from meshlib.routing.actions import DirectResponse, Fault, HeaderEdit, Mirror, Redirect, Rewrite
from meshlib.routing.binding import Interpreter
from meshlib.routing.dtab_override import Override
from meshlib.routing.dtab_reader import read_path
from meshlib.routing.dtab_router import DtabRouter
from meshlib.routing.explain import explain
from meshlib.routing.match import Match, Text
from meshlib.routing.namer import SourceNamer
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Split, Sticky, StickyKey
from meshlib.routing.table import RouteTable, ServiceRoutes

FS = read_path("/#/io.l5d.fs")
SPLIT = Split({"users-v1": 90, "users-v2": 10})
STICKY = Split({"users-v1": 90, "users-v2": 10}, sticky=Sticky(StickyKey("header", "x-user")))
USERS = ServiceRoutes(
    "users",
    hosts=["users", "*.users.internal"],
    routes=[
        Route(name="writes", match=Match(methods=["POST"]), to=Split("primary")),
        Route(
            name="beta",
            match=[Match(headers={"x-beta": "1"}), Match(cookies={"beta": Text(present=True)})],
            to=STICKY,
            rewrite=Rewrite(host="beta", path="/beta"),
            headers=HeaderEdit(set={"x-a": "1"}, add={"x-b": "2"}, remove=["x-c"]),
            mirrors=[Mirror("shadow", ratio=0.5)],
            fault=Fault(delay=2.0, delay_ratio=0.1, abort_grpc=14),
            timeout=1.5,
            retry="quick",
        ),
        Route(name="old", match=Match(path="/old/*"), redirect=Redirect(prefix="/new")),
        Route(match=Match(path="/health"), direct=DirectResponse(204)),
    ],
    default=SPLIT,
)
ROUTER = DtabRouter(
    Interpreter("/svc => /#/io.l5d.fs", namers=[(FS, SourceNamer(FS, {"a": "a", "b": "b"}))]),
    override=Override(user=True),
)
TABLE = RouteTable([USERS], unknown=ROUTER)


def told(table: RouteTable, host: str = "users", method: str = "GET", path: str = "/", **headers: str) -> list[str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return list(explain(table, RouteRequest(host, method, path, header=named.get), lambda: 0.95).lines())


def test_rules_say_why_they_do_not_match_and_the_split_shows_its_draw() -> None:
    assert told(TABLE) == [
        "host 'users' is service 'users' (its hosts: users, *.users.internal)",
        "rule 1 'writes' does not match",
        "  method is not POST",
        "rule 2 'beta' does not match",
        "  header 'x-beta' is not exact '1'",
        "  cookie 'beta' is not present",
        "rule 3 'old' does not match",
        "  path '/' is not path prefix '/old'",
        "rule 4 does not match",
        "  path '/' is not path '/health'",
        "no rule matches: the default",
        "split: users-v2 by the draw 0.950000",
        "  users-v1: 90 of 100",
        "  users-v2: 10 of 100",
        "=> cluster users-v2",
    ]


def test_a_rule_that_matches_tells_all_that_it_does() -> None:
    assert told(TABLE, x_beta="1", x_user="7")[3:] == [
        "rule 2 'beta' matches: Match(header 'x-beta' is exact '1')",
        "split: users-v1 by the hash of header x-user '7': 622455 of 1000000 (stable)",
        "  users-v1: 90 of 100",
        "  users-v2: 10 of 100",
        "host rewritten to 'beta'",
        "path rewritten to '/beta'",
        "request headers",
        "  set x-a: 1",
        "  add x-b: 2",
        "  remove x-c",
        "mirrored to shadow (50.00%)",
        "faults are injected",
        "  delay of 2 s (10.00%)",
        "  abort with gRPC 14 (100.00%)",
        "settings of this rule",
        "  timeout: 1.5",
        "  retry: quick",
        "=> cluster users-v1",
    ]
    assert "split: users-v2 by the draw 0.950000 (header x-user absent)" in told(TABLE, x_beta="1")


def test_answers_given_here_are_told() -> None:
    assert told(TABLE, path="/old/x")[-1] == "=> answered with a redirect (302)"
    assert told(TABLE, path="/health")[-1] == "=> answered directly with 204"


def test_each_delegation_is_told() -> None:
    override = "/svc => 3 * /#/io.l5d.fs/a & /#/io.l5d.fs/b"
    assert told(TABLE, host="x", l5d_dtab=override) == [
        "no service has the host 'x': the dtab decides",
        "the request's name is /svc/x",
        "the request brings its own entries",
        "  /svc=>3.00*/#/io.l5d.fs/a & /#/io.l5d.fs/b",
        "delegation, the last entry first",
        "  /svc/x -> the first of these that is known:",
        "    /svc/x -> all of these by weight:   (/svc=>3.00*/#/io.l5d.fs/a & /#/io.l5d.fs/b)",
        "      3 * /#/io.l5d.fs/a/x -> bound to a, with /x left over   (/svc=>3.00*/#/io.l5d.fs/a & /#/io.l5d.fs/b)",
        "      1 * /#/io.l5d.fs/b/x -> bound to b, with /x left over   (/svc=>3.00*/#/io.l5d.fs/a & /#/io.l5d.fs/b)",
        "    /#/io.l5d.fs/x -> nothing known (~)   (/svc=>/#/io.l5d.fs)",
        "weighted union, drawn 0.950000",
        "  a: 75.0000%",
        "  b: 25.0000%",
        "request headers",
        "  set l5d-ctx-dtab: /svc=>3.00*/#/io.l5d.fs/a & /#/io.l5d.fs/b",
        "  set l5d-dst-service: /svc/x",
        "  set l5d-dst-client: /#/io.l5d.fs/b",
        "  set l5d-dst-residual: /x",
        "  remove l5d-dtab",
        "=> cluster b",
    ]
    assert told(TABLE, host="x")[-1] == "refused: /svc/x: the dtab leads to no cluster"
    assert "cannot be read" in told(TABLE, host="x", l5d_dtab="no")[2]


def test_unknown_hosts_are_told() -> None:
    assert told(RouteTable([USERS]), host="x") == ["no service has the host 'x': it goes straight out"]
    assert told(RouteTable(unknown="closed"), host="x")[-1] == "refused: closed"
    egress = ServiceRoutes("egress", default=Split("proxy"))
    assert told(RouteTable(unknown=egress), host="x") == [
        "no service has the host 'x': the rules of 'egress' for unknown hosts",
        "no rules: the default",
        "=> cluster proxy",
    ]


def test_hosts_that_go_out_or_were_services_are_told() -> None:
    listed = RouteTable(
        [ServiceRoutes("any", hosts=["*.any"], routes=[Route(outside=True)])], outside=["x"], unknown="closed"
    )
    assert told(listed, host="x") == ["no service has the host 'x': egress lists it, so it goes straight out"]
    assert told(listed, host="a.any")[-1] == "=> straight out, past the mesh"
    for unknown in (None, "closed", ServiceRoutes("egress", routes=[Route(outside=True)])):
        table = RouteTable([ServiceRoutes("any", hosts=["users*"], routes=[Route(outside=True)])], unknown=unknown)
        for host in ("users", "users2", "a"):
            before = RouteTable([ServiceRoutes(host, default=Split("x"))])
            refused = told(table.after(before), host=host)
            assert refused[0] == f"host {host!r} would go straight out, as one that the mesh does not know"
            assert refused[1].startswith(f"refused: was a name of service {host!r}") and len(refused) == 2


def test_an_explanation_is_plain_data_too() -> None:
    data = explain(TABLE, RouteRequest("users"), lambda: 0.5).to_json()
    assert (data["cluster"], data["rule"], data["draws"]) == ("users-v1", "(default)", [0.5])
    assert json.loads(json.dumps(data)) == data


@given(
    host=st.sampled_from(["users", "a.users.internal:80", "a", "zzz"]),
    method=st.sampled_from(["GET", "POST"]),
    path=st.sampled_from(["/", "/old/x", "/health"]),
    headers=st.dictionaries(
        st.sampled_from(["x-beta", "x-user", "cookie", "l5d-dtab"]), st.sampled_from(["1", "beta=1"])
    ),
    seed=st.integers(),
)
def test_an_explanation_decides_as_the_table_does(
    host: str, method: str, path: str, headers: dict[str, str], seed: int
) -> None:
    request = RouteRequest(host, method, path, header=headers.get)
    explanation = explain(TABLE, request, Dice(seed).random)
    decision = TABLE.resolve(request, Dice(seed).random)
    assert (explanation.decision.cluster, explanation.decision.route.name) == (decision.cluster, decision.route.name)
    assert str(explanation)
