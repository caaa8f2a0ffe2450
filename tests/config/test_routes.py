"""The rules of a mesh.yaml decide as they read, from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh
from meshlib.routing.request import RouteRequest

RULES = """
services:
  users:
    routes:
      - {name: testers, match: {headers: {x-group: testers}, path: /v1/*}, split: v2}
      - {name: old, match: [{path: {regex: "/old/[0-9]+"}}, {path: /older}], redirect: {prefix: /v1, status: 308}}
      - {name: ping, match: {path: /ping, method: [GET, HEAD]}, respond: {status: 200, body: pong}}
      - {name: dev, match: {env: dev}, split: {v2: 1}, fault: {delay: 100ms, delay_ratio: 5%}, mirror: {v1: 10%}}
    split: {v1: 90, v2: 10}
    sticky: {cookie: session}
clusters: {v1: {endpoints: [h:1]}, v2: {endpoints: [h:2]}}
"""


def mesh(folder: Path, text: str = RULES) -> Mesh:
    (folder / "mesh.yaml").write_text(text)
    return Mesh.from_file(folder / "mesh.yaml", watch=False)


@pytest.mark.parametrize(
    ("request_", "rule", "cluster"),
    [
        (RouteRequest("users", path="/v1/me", header={"x-group": "testers"}.get), "testers", "v2"),
        (RouteRequest("users", path="/v2/me", header={"x-group": "testers"}.get), "(default)", "v1"),
        (RouteRequest("users", path="/old/12"), "old", None),
        (RouteRequest("users", path="/older"), "old", None),
        (RouteRequest("users", path="/old/x"), "(default)", "v1"),
        (RouteRequest("users", path="/ping"), "ping", None),
        (RouteRequest("users", "POST", path="/ping"), "(default)", "v1"),
        (RouteRequest("users", labels={"env": "dev"}), "dev", "v2"),
    ],
)
def test_the_first_rule_that_matches_decides(
    tmp_path: Path, request_: RouteRequest, rule: str, cluster: str | None
) -> None:
    decision = mesh(tmp_path).current.routes.resolve(request_, lambda: 0.5)
    assert decision is not None
    assert (decision.route.name, decision.cluster) == (rule, cluster)


def test_a_sticky_split_of_the_service_keeps_a_session_where_it_is(tmp_path: Path) -> None:
    routes = mesh(tmp_path).current.routes
    request = RouteRequest("users", header={"cookie": "session=abc"}.get)
    decisions = {routes.resolve(request, lambda draw=draw: draw / 10) for draw in range(10)}
    assert len(decisions) == 1


def test_without_a_split_what_no_rule_takes_is_refused(tmp_path: Path) -> None:
    text = "services: {a: {routes: [{match: {path: /x}, split: a}]}}\nclusters: {a: {}}\n"
    decision = mesh(tmp_path, text).current.routes.resolve(RouteRequest("a", path="/y"), lambda: 0.5)
    assert decision is not None and decision.refused is not None and "no rule matches" in decision.refused


@pytest.mark.parametrize(
    ("rule", "where", "expected"),
    [
        ("{split: v9}", "services.users.routes[0].split.v9", "no such cluster"),
        ("{split: v1, mirror: {v9: 1}}", "services.users.routes[0].mirror.v9", "no such cluster"),
        ("{match: {path: /x}}", "services.users.routes[0]", "expected one of split, redirect, respond and outside"),
        ("{match: {pth: /x}, split: v1}", "services.users.routes[0].match[0].pth", "unknown key"),
        ("{match: {path: {regex: '('}}, split: v1}", "services.users.routes[0]", ""),
        ("{split: v1, fault: {delay: -1}}", "services.users.routes[0]", "delay"),
        ("{redirect: {status: 200}}", "services.users.routes[0]", "expected 301"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, rule: str, where: str, expected: str
) -> None:
    text = f"services: {{users: {{routes: [{rule}], split: v1}}}}\nclusters: {{v1: {{}}}}\n"
    with pytest.raises(ConfigError) as caught:
        mesh(tmp_path, text)
    assert caught.value.where == where
    assert expected in str(caught.value)
