"""What was full is emptied by a text that says so, and by no other: a truncated file does not, nor one half written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from watching import SAYS_NOTHING, Watched

from meshlib import ConfigError, Mesh
from meshlib.cli import main
from meshlib.discovery.file_store import FileStore
from meshlib.discovery.store import MemoryStore
from meshlib.events import ConfigRefused, Event

FULL = """\
services:
  users: {}
clusters:
  users: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}
pipelines: {reports: {timeout: 1s}}
"""
NO_YAML = ["\0\0\0", "\t\n", "---\n---\n", "...\n", "[]", "''", "false", "0", "{}"]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path, mesh_yaml=FULL)


# --- a mesh.yaml -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SAYS_NOTHING + NO_YAML)
def test_an_emptied_file_is_refused_and_the_last_good_one_stays(watched: Watched, text: str) -> None:
    error = watched.edit(text)
    assert isinstance(error, ConfigError)
    assert watched.addresses() == ["127.0.0.1:1", "127.0.0.1:2"]
    assert watched.edit(FULL + "labels: {a: b}\n") is None


@pytest.mark.parametrize("text", SAYS_NOTHING)
def test_a_start_with_a_file_that_says_nothing_is_an_error_that_says_what_to_write(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mesh\.yaml:\d: .*says nothing.*write `services: \{\}`"):
        Mesh.from_file(file)
    assert main(["check", str(file)]) == 1
    assert "write `services: {}`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        ("clusters: {users: {endpoints: ['127.0.0.1:1']}}\npipelines: {reports: {}}", "services", "services: {}"),
        ("services: {users: {routes: [{respond: {}}]}}\npipelines: {reports: {}}", "clusters", "clusters: {}"),
        (FULL.replace("pipelines:", "labels: {a: b}\n#"), "pipelines", "pipelines: {}"),
        ("labels: {a: b}", "services", "services: {}"),
        ("clusters: {}\npipelines: {reports: {}}", "services", "services: {}"),
        (
            FULL.replace("{endpoints: ['127.0.0.1:1', '127.0.0.1:2']}", "{}"),
            "clusters.users.endpoints",
            "endpoints: []",
        ),
        (
            FULL.replace("endpoints: ['127.0.0.1:1', '127.0.0.1:2']", "endpoints_from: "),
            "clusters.users.endpoints",
            "endpoints: []",
        ),
    ],
)
def test_a_section_that_vanishes_is_refused_with_what_to_write_instead(
    watched: Watched, text: str, place: str, advice: str
) -> None:
    error = watched.edit(text)
    assert isinstance(error, ConfigError) and error.where == place
    assert f"if that is meant, write `{advice}`" in str(error)


@pytest.mark.parametrize(
    "text", ["services:\n", "clusters:\n", "services: {users:}\n", "services: {}\nclusters: {users: }"]
)
def test_a_key_with_nothing_behind_it_is_refused(watched: Watched, text: str) -> None:
    assert isinstance(watched.edit(text), ConfigError)


def test_how_many_there_were_is_said(watched: Watched) -> None:
    text = "services: {a: {}, b: {}, c: {}, d: {}}\nclusters: {a: {}, b: {}, c: {}, d: {}}\npipelines: {}"
    assert watched.edit(text) is None
    assert "there were 4 (a, b, c, …), and now there are none" in str(watched.edit("pipelines: {}"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("services: {}\npipelines: {}", {}),
        ("services: {}\nclusters: {}\npipelines: {}", {}),
        ('{"services": {}, "clusters": {}, "pipelines": {}}', {}),
        (FULL.replace("{endpoints: ['127.0.0.1:1', '127.0.0.1:2']}", "{endpoints: []}"), {"users": 0}),
        (FULL.replace("['127.0.0.1:1', '127.0.0.1:2']", "['127.0.0.1:1']"), {"users": 1}),
        (FULL.replace("users", "people"), {"people": 2}),
    ],
)
def test_what_the_text_says_takes_effect(watched: Watched, text: str, left: dict[str, int]) -> None:
    assert watched.edit(text) is None
    clusters = watched.mesh.current.clusters
    assert {name: len(one.balancer.endpoints) for name, one in clusters.items()} == left


def test_a_cluster_that_never_had_endpoints_may_go_without(watched: Watched) -> None:
    assert watched.edit(FULL.replace("clusters:", "clusters:\n  other: {}")) is None
    assert watched.edit(FULL.replace("clusters:", "clusters:\n  other: {breaker: off}")) is None


@pytest.mark.parametrize("egress", ["refuse", "[api.example.com]", "{routes: [{match: {host: x}, outside: true}]}"])
def test_a_limit_of_egress_that_vanishes_is_refused(watched: Watched, egress: str) -> None:
    assert watched.edit(f"{FULL}egress: {egress}\n") is None
    error = watched.edit(FULL)
    assert isinstance(error, ConfigError) and error.where == "egress" and "write `egress: allow`" in str(error)
    assert watched.edit(f"{FULL}egress: {{hosts: [x], otherwise: allow}}\n") is None
    assert watched.edit(FULL) is None, "nothing was limited"


def test_a_dtab_that_vanishes_is_refused(watched: Watched) -> None:
    assert watched.edit(FULL + "dtab: {entries: /svc => /#/clusters}\n") is None
    assert "write `dtab: null`" in str(watched.edit(FULL))
    assert "write `entries: ''`" in str(watched.edit(FULL + "dtab: {override: true}\n"))
    assert watched.edit(FULL + "dtab: {entries: ''}\n") is None
    assert watched.edit(FULL + "dtab: null\n") is None


# --- an endpoints file -----------------------------------------------------------------------------------------------

FROM_FILE = "services: {users: {}}\nclusters: {users: {endpoints_from: {file: e.yaml}}}\n"


@pytest.mark.parametrize(
    "text", [*SAYS_NOTHING, *NO_YAML[:3], "{}", "-\n", "- targets:\n", "- targets: null\n", "[null]"]
)
def test_an_emptied_endpoints_file_is_refused_and_the_last_good_one_stays(tmp_path: Path, text: str) -> None:
    watched = Watched(tmp_path, mesh_yaml=FROM_FILE, e_yaml="[127.0.0.1:1]")
    error = watched.edit(text, "e.yaml")
    assert isinstance(error, ConfigError) and "e.yaml" in str(error)
    assert watched.addresses() == ["127.0.0.1:1"]


def test_an_endpoints_file_that_is_deleted_is_refused(tmp_path: Path) -> None:
    watched = Watched(tmp_path, mesh_yaml=FROM_FILE, e_yaml="[127.0.0.1:1]")
    (tmp_path / "e.yaml").unlink()
    assert "cannot be read" in str(watched.reload())
    assert watched.addresses() == ["127.0.0.1:1"]


@pytest.mark.parametrize("text", ["[]", "- targets: []\n", '[{"targets": [], "labels": {}}]', "--- []\n"])
def test_a_list_that_is_really_empty_empties_the_cluster(tmp_path: Path, text: str) -> None:
    watched = Watched(tmp_path, mesh_yaml=FROM_FILE, e_yaml="[127.0.0.1:1]")
    assert watched.edit(text, "e.yaml") is None
    assert watched.addresses() == []


def test_a_start_with_an_empty_endpoints_file_is_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(FROM_FILE)
    (tmp_path / "e.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"e\.yaml:1: .*write `\[\]` if there are none"):
        Mesh.from_file(tmp_path / "mesh.yaml")


# --- stores ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Mesh, Callable[[str], object]]:
    """A mesh that follows a store, and what puts a text there and waits until the mesh has judged it."""
    store = MemoryStore(FULL) if request.param == "memory" else FileStore(tmp_path / "mesh.yaml")
    if isinstance(store, MemoryStore):
        mesh = Mesh.from_store(store)
        request.addfinalizer(mesh.close)
        return mesh, store.put
    store.put(FULL)
    mesh = Mesh.from_store(store)
    request.addfinalizer(mesh.close)

    def put_and_wait(text: str) -> None:
        judged = threading.Event()
        end = mesh.subscribe(lambda event: judged.set())
        (tmp_path / "mesh.yaml").write_text(text, encoding="utf-8")
        assert judged.wait(20)
        end()

    return mesh, put_and_wait


def test_an_emptied_text_in_a_store_is_refused_and_the_last_good_one_stays(
    put: tuple[Mesh, Callable[[str], object]],
) -> None:
    mesh, write = put
    events: list[Event] = []
    mesh.subscribe(events.append)
    before = mesh.current
    for text in ("", "# nothing\n", "labels: {a: b}\n"):
        write(text)
        assert mesh.current is before and isinstance(events[-1], ConfigRefused)
    write("services: {}\npipelines: {}\n")
    assert dict(mesh.current.services) == {}


def test_a_start_with_an_empty_text_in_a_store_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"memory@1:1: .*says nothing"):
        Mesh.from_store(MemoryStore(""))


def test_what_processes_would_refuse_is_not_put_into_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, new = str(tmp_path / "mesh.yaml"), tmp_path / "new.yaml"
    for text, status, said in (
        (FULL, 0, ""),
        ("", 1, "says nothing"),
        ("pipelines: {}\n", 1, "services: there were 1 (users), and now there are none"),
        ("services: {}\npipelines: {}\n", 0, ""),
        ("labels: {a: b}\n", 0, ""),
    ):
        new.write_text(text)
        assert main(["routes", "put", store, str(new)]) == status
        assert said in capsys.readouterr().err
    assert main(["routes", "rollback", store]) == 0
