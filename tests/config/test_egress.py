"""`egress` says which hosts beyond the mesh may be called: all, none, those it lists, or as rules say."""

from __future__ import annotations

from pathlib import Path

import pytest
from watching import Watched

from meshlib import ConfigError, Mesh, NoEndpoint, SyncMeshClient
from meshlib.cli import main
from meshlib.config.envoy_export import export
from meshlib.config.load import load_text
from meshlib.routing.request import RouteRequest

MESH = "services: {users: {}, orders: {hosts: [orders, '*.orders.example']}}\n"
MESH += "clusters: {users: {endpoints: ['h:1']}, orders: {endpoints: ['h:2']}}\n"
RULES = "[{match: {host: {suffix: .org}}, split: users}, {match: {path: /x}, outside: true}]"


def fate(mesh: Mesh, host: str, path: str = "/") -> str:
    decision = mesh.current.routes.resolve(RouteRequest(host, path=path), lambda: 0.5)
    if decision is None or (decision.cluster is None and decision.route.outside):
        return "out"
    return decision.cluster or str(decision.refused)


@pytest.mark.parametrize(
    ("egress", "listed", "other"),
    [
        ("allow", "out", "out"),
        ("refuse", "egress is refused", "egress is refused"),
        ("[api.example.com, '*.net']", "out", "egress does not list this name"),
        ("{hosts: [API.example.com.]}", "out", "egress does not list this name"),
        ("{hosts: ['*.example.com'], otherwise: refuse}", "out", "egress does not list this name"),
        ("{hosts: [api.example.com], otherwise: allow}", "out", "out"),
        (f"{{hosts: [api.example.com], routes: {RULES}}}", "out", "no rule matches"),
    ],
)
def test_what_becomes_of_hosts_that_no_service_has(tmp_path: Path, egress: str, listed: str, other: str) -> None:
    mesh = Watched(tmp_path, mesh_yaml=f"{MESH}egress: {egress}\n").mesh
    assert listed in fate(mesh, "api.example.com:443") and other in fate(mesh, "other.com:443")
    assert (fate(mesh, "users"), fate(mesh, "a.orders.example")) == ("users", "orders")


@pytest.mark.parametrize(
    ("egress", "where", "expected"),
    [
        ("[]", "egress", "allow, refuse, hosts, or rules"),
        ("{otherwise: allow}", "egress", "allow, refuse, hosts, or rules"),
        ("{hosts: [x], split: users, otherwise: allow}", "egress", "rules decide about the others"),
        ("{hosts: [x], otherwise: maybe}", "egress.otherwise", "'allow'"),
        ("{hosts: [x, 'a*b']}", "egress.hosts[1]", "at most one *"),
        ("{hostss: [x]}", "egress.hostss", "did you mean 'hosts'?"),
        ("", "egress", "'allow'"),
    ],
)
def test_a_mistake_is_refused_with_its_place(egress: str, where: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        text = load_text(f"{MESH}egress: {egress}\n", "mesh.yaml")
        export(text)
    assert caught.value.where == where and expected in caught.value.expected


@pytest.mark.parametrize("host", ["orders", "orders:80", "a.orders.example", "Orders."])
def test_a_name_that_was_a_service_goes_out_only_where_the_file_lists_it(tmp_path: Path, host: str) -> None:
    watched = Watched(tmp_path, mesh_yaml=MESH)
    less = MESH.replace(", orders: {hosts: [orders, '*.orders.example']}", "")
    for egress, found in (
        ("egress: allow", "was a name of service 'orders'"),
        ("egress: refuse", "was a name of service 'orders'"),
        ("egress: {hosts: [x], otherwise: allow}", "was a name of service 'orders'"),
        ("egress: {routes: [{outside: true}]}", "was a name of service 'orders'"),
        ("egress: {hosts: [orders, '*.orders.example'], otherwise: allow}", "out"),
        ("egress: {routes: [{match: {host: {contains: orders}}, outside: true}]}", "out"),
        ("egress: allow", "was a name of service 'orders'"),
    ):
        assert watched.edit(f"{less}{egress}\n") is None
        assert found in fate(watched.mesh, host.lower()), egress
        assert fate(watched.mesh, "users") == "users"


def test_explain_says_that_egress_lists_a_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{MESH}egress: [api.example.com]\n")
    assert main(["explain", "GET", "http://api.example.com/", "--mesh", str(file)]) == 0
    assert "egress lists it, so it goes straight out" in capsys.readouterr().out
    assert main(["explain", "GET", "http://other.example.com/", "--mesh", str(file)]) == 1
    assert "egress does not list this name" in capsys.readouterr().out


def test_the_export_for_envoy_tells_of_listed_hosts() -> None:
    told = export(load_text(f"{MESH}egress: [api.example.com]\n", "mesh.yaml")).differences
    assert any("hosts that egress lists go straight out" in one for one in told)


@pytest.mark.parametrize("egress", ["refuse", "[api.example.com]", f"{{hosts: [x.com], routes: {RULES}}}"])
def test_a_refusal_names_the_host_once(tmp_path: Path, egress: str) -> None:
    """Who raises it puts the name in front: "x: x: egress is refused" said it twice."""
    mesh = Watched(tmp_path, mesh_yaml=f"{MESH}egress: {egress}\n").mesh
    assert "other.com" not in fate(mesh, "other.com:443")
    with SyncMeshClient(mesh=mesh) as client, pytest.raises(NoEndpoint) as caught:
        client.get("http://other.com/")
    assert str(caught.value).count("other.com") <= 1
