"""Manifests that were emptied: a folder without files, a file without a word, a host without endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from watching import SAYS_NOTHING, Watched

from meshlib import ConfigError, Mesh
from meshlib.config.manifests import read_manifests
from meshlib.discovery.store import MemoryStore
from meshlib.events import ConfigRefused, Event
from meshlib.routing.request import RouteRequest

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1}}]
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec: {host: users.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}
"""
USERS, ORDERS = ENTRY.format(name="users"), ENTRY.format(name="orders")


def folder_of(path: Path, **files: str) -> Watched:
    (path / "mesh").mkdir()
    for name, text in files.items():
        (path / "mesh" / f"{name}.yaml").write_text(text)
    return Watched(path, "mesh")


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return folder_of(tmp_path, users=USERS, orders=ORDERS, rule=RULE)


def fate(watched: Watched, host: str) -> str:
    decision = watched.mesh.current.routes.resolve(RouteRequest(host), lambda: 0.5)
    return "out" if decision is None else decision.cluster or "refused"


@pytest.mark.parametrize("text", SAYS_NOTHING)
@pytest.mark.parametrize("file", ["users", "rule"])
def test_a_file_that_says_nothing_any_more_is_refused(watched: Watched, file: str, text: str) -> None:
    error = watched.edit(text, f"mesh/{file}.yaml")
    assert isinstance(error, ConfigError) and f"{file}.yaml" in str(error) and "delete the file" in str(error)
    assert watched.mesh.current.clusters["users.example.com"].tls


def test_a_file_that_is_deleted_takes_its_names_away_and_they_do_not_go_out(watched: Watched) -> None:
    (watched.folder / "mesh" / "orders.yaml").unlink()
    assert watched.reload() is None
    assert (fate(watched, "orders.example.com"), fate(watched, "users.example.com")) == ("refused", "users.example.com")
    assert watched.edit("# later\n", "mesh/orders.yaml") is None, "it said nothing before"


def test_a_folder_whose_files_are_all_gone_is_refused(watched: Watched) -> None:
    for file in (watched.folder / "mesh").iterdir():
        file.unlink()
    assert "no file is there" in str(watched.reload())


def test_manifests_that_amount_to_no_service_any_more_are_refused(watched: Watched) -> None:
    for name in ("orders", "rule"):
        (watched.folder / "mesh" / f"{name}.yaml").unlink()
    error = watched.edit("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "mesh/users.yaml")
    assert isinstance(error, ConfigError) and error.where == "services"
    assert "if that is meant, restart the process" in str(error)


@pytest.mark.parametrize("endpoints", ["endpoints:", "endpoints: []", ""])
def test_a_host_without_its_endpoints_is_refused_and_not_looked_for_in_dns(watched: Watched, endpoints: str) -> None:
    error = watched.edit(USERS.replace("endpoints: [{address: 10.0.0.1}]", endpoints), "mesh/users.yaml")
    assert isinstance(error, ConfigError) and error.where == "clusters.users.example.com.endpoints"
    assert watched.addresses("users.example.com") == ["10.0.0.1:80"]


def test_a_static_host_without_endpoints_has_none_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(USERS.replace("endpoints: [{address: 10.0.0.1}]", ""))
    assert read_manifests([tmp_path / "a.yaml"]).endpoints["users.example.com"] == []


@pytest.mark.parametrize("text", SAYS_NOTHING)
def test_a_single_file_that_says_nothing_any_more_is_refused(tmp_path: Path, text: str) -> None:
    watched = Watched(tmp_path, "a.yaml", a_yaml=USERS)
    assert "says nothing" in str(watched.edit(text, "a.yaml")) or "is empty" in str(watched.edit(text, "a.yaml"))
    assert fate(watched, "users.example.com") == "users.example.com"


def test_a_start_with_an_empty_file_among_others_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(USERS)
    (tmp_path / "b.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"b\.yaml: .*is empty: write what it means, or delete the file"):
        Mesh.from_file(tmp_path)
    (tmp_path / "b.yaml").write_text("# switched off\n")
    Mesh.from_file(tmp_path, watch=False)
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(ConfigError, match="says nothing: expected manifests"):
        Mesh.from_file(tmp_path)


def test_manifests_in_a_store_are_emptied_by_a_mesh_file_that_says_so_and_by_nothing_else() -> None:
    store = MemoryStore(USERS)
    with Mesh.from_store(store) as mesh:
        events: list[Event] = []
        mesh.subscribe(events.append)
        before = mesh.current
        for text in ("", "# nothing\n", "---\n", "apiVersion: v1\nkind: Namespace\n", "labels: {a: b}\n"):
            store.put(text)
            assert mesh.current is before and isinstance(events[-1], ConfigRefused)
        store.put("services: {}\n")
        assert dict(mesh.current.services) == {}


LINKERD = """\
namers: [{kind: io.l5d.fs, rootDir: disco}]
routers:
- protocol: http
  interpreter: {kind: io.l5d.fs, dtabFile: table}
"""


def test_files_of_a_linkerd_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    (tmp_path / "disco").mkdir()
    (tmp_path / "disco" / "users").write_text("10.0.0.1 80\n")
    (tmp_path / "table").write_text("/svc => /#/io.l5d.fs;\n")
    watched = Watched(tmp_path, "linkerd.yaml", linkerd_yaml=LINKERD)
    for file, text in (
        ("disco/users", ""),
        ("disco/users", "# nobody\n"),
        ("table", ""),
        ("linkerd.yaml", "routers: []"),
    ):
        kept = (tmp_path / file).read_text()
        assert isinstance(watched.edit(text, file), ConfigError), file
        assert watched.edit(kept, file) is None
    (tmp_path / "disco" / "orders").write_text("")
    assert watched.reload() is None, "a new name may begin without endpoints"
    (tmp_path / "disco" / "users").unlink()
    assert watched.reload() is None
    assert fate(watched, "users") == "refused"
