"""A mesh from a document in code: the same as from a mesh.yaml, with errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib import ConfigError, Mesh
from meshlib.discovery.store import MemoryStore
from meshlib.named import resilient

TEXT = """
services: {users: {timeout: 2s, split: {v1: 90, v2: 10}}}
clusters:
  v1: {endpoints: ["h:1", {address: "h:2", weight: 2}]}
  v2: {endpoints: ["h:3"], breaker: off}
pipelines: {reports: {retry: {attempts: 2}, breaker: {consecutive_failures: 5}}}
"""
DOCUMENT: dict[str, Any] = {
    "services": {"users": {"timeout": "2s", "split": {"v1": 90, "v2": 10}}},
    "clusters": {
        "v1": {"endpoints": ["h:1", {"address": "h:2", "weight": 2}]},
        "v2": {"endpoints": ["h:3"], "breaker": False},
    },
    "pipelines": {"reports": {"retry": {"attempts": 2}, "breaker": {"consecutive_failures": 5}}},
}


def addresses(mesh: Mesh, cluster: str) -> list[str]:
    return [one.address for one in mesh.current.clusters[cluster].balancer.endpoints]


def test_a_document_is_what_the_same_file_is(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(TEXT)
    assert yaml.safe_load(TEXT) == DOCUMENT
    with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as read, Mesh.from_dict(DOCUMENT) as given:
        for name, cluster in read.current.clusters.items():
            assert given.current.clusters[name].settings == cluster.settings
            assert addresses(given, name) == addresses(read, name)
        assert given.current.services.keys() == read.current.services.keys()
        assert given.current.pipelines.keys() == read.current.pipelines.keys()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"services": {"users": {"timeoutt": 1}}},
            "services.users.timeoutt: unknown key; did you mean 'timeout'?",
        ),
        (
            {"services": {"users": {"timeout": object}}},
            "services.users.timeout: expected a mapping, a list, a text, a number, True, False or None, "
            "found <class 'object'>",
        ),
        ({"clusters": {8080: {}}}, "clusters: expected texts as keys, found 8080"),
        (
            {"clusters": {"a": {"endpoints": ["h"]}}},
            "clusters.a.endpoints[0]: expected host:port or unix:/path, found 'h'",
        ),
        ([], "(the whole document): expected services and clusters, found list"),
        (
            None,
            "(the whole document): says nothing: expected services and clusters; "
            "write `services: {}` if there are none",
        ),
        (
            {"services": {"users": {}}},
            "services.users: no cluster of this name, and no split to others: (there are no clusters)",
        ),
    ],
)
def test_an_error_names_the_place(document: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Mesh.from_dict(document)
    assert str(caught.value) == message


def test_a_document_that_holds_itself_is_refused() -> None:
    document: dict[str, Any] = {}
    document["services"] = document
    with pytest.raises(ConfigError, match="too deep"):
        Mesh.from_dict(document)


def test_an_update_keeps_the_state_of_what_stays() -> None:
    with Mesh.from_dict(DOCUMENT) as mesh:
        before = mesh.current
        clusters = {**DOCUMENT["clusters"], "v2": {"endpoints": ["h:3", "h:4"], "breaker": False}}
        now = mesh.update({**DOCUMENT, "clusters": clusters})
        assert now is mesh.current and now.version == before.version + 1
        assert now.clusters["v1"] is before.clusters["v1"]
        assert now.services["users"] is before.services["users"]
        assert addresses(mesh, "v2") == ["h:3", "h:4"]
        assert now.clusters["v2"].balancer.endpoints[0] is before.clusters["v2"].balancer.endpoints[0]


def test_a_refused_update_changes_nothing() -> None:
    with Mesh.from_dict(DOCUMENT) as mesh:
        before = mesh.current
        with pytest.raises(ConfigError, match=r"clusters\.v1\.paniic: unknown key"):
            mesh.update({**DOCUMENT, "clusters": {"v1": {"paniic": 1}}})
        assert mesh.current is before


def test_a_document_changed_later_by_its_owner_is_a_change() -> None:
    """`update` compares with a copy: the same dictionary, edited in place, is not the same configuration."""
    document: dict[str, Any] = {"services": {"a": {}}, "clusters": {"a": {"endpoints": ["h:1"]}}}
    with Mesh.from_dict(document) as mesh:
        document["clusters"]["a"]["endpoints"].append("h:2")
        assert addresses(mesh, "a") == ["h:1"]
        mesh.update(document)
        assert addresses(mesh, "a") == ["h:1", "h:2"]


def test_an_update_empties_only_what_it_says() -> None:
    with Mesh.from_dict(DOCUMENT) as mesh:
        with pytest.raises(ConfigError, match=r"services: there were 1 \(users\).*write `services: \{\}`"):
            mesh.update({"clusters": DOCUMENT["clusters"], "pipelines": DOCUMENT["pipelines"]})
        mesh.update({"services": {}, "pipelines": {}})
        assert not mesh.current.services


def test_a_mesh_made_by_hand_takes_a_document() -> None:
    with Mesh() as mesh:
        mesh.update(DOCUMENT)
        assert addresses(mesh, "v1") == ["h:1", "h:2"]


def test_a_file_that_is_not_watched_gives_way_to_an_update(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(TEXT)
    with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as mesh:
        kept = mesh.current.clusters["v1"]
        assert mesh.update(DOCUMENT).clusters["v1"] is kept


def test_a_watched_file_is_the_one_place_of_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(TEXT)
    with (
        Mesh.from_file(tmp_path / "mesh.yaml") as mesh,
        pytest.raises(RuntimeError, match=r"mesh\.yaml; change it there"),
    ):
        mesh.update(DOCUMENT)


def test_a_store_is_the_one_place_of_its_configuration() -> None:
    with Mesh.from_store(MemoryStore(TEXT)) as mesh, pytest.raises(RuntimeError, match="comes from memory"):
        mesh.update(DOCUMENT)


def test_endpoints_files_are_found_from_the_folder_and_watched(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("[h:1]")
    document = {"services": {"a": {}}, "clusters": {"a": {"endpoints_from": {"file": "endpoints.yaml"}}}}
    with Mesh.from_dict(document, folder=tmp_path, watch=False) as mesh:
        assert addresses(mesh, "a") == ["h:1"]
        assert mesh.reader.seen().keys() == {tmp_path / "endpoints.yaml"}
        (tmp_path / "endpoints.yaml").write_text("[h:1, h:2]")
        mesh.reader.changed(sleep=lambda seconds: None)
        assert addresses(mesh, "a") == ["h:1", "h:2"]


@pytest.mark.anyio
async def test_an_edit_of_a_watched_endpoints_file_is_the_next_snapshot(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("[h:1]")
    document = {"services": {"a": {}}, "clusters": {"a": {"endpoints_from": {"file": "endpoints.yaml"}}}}
    with Mesh.from_dict(document, folder=tmp_path) as mesh:
        version = mesh.version
        (tmp_path / "endpoints.yaml").write_text("[h:1, h:2]")
        await mesh.newer_than(version)
        assert addresses(mesh, "a") == ["h:1", "h:2"]


def test_a_mesh_from_a_document_guards_functions_by_name() -> None:
    @resilient("reports")
    def report() -> str:
        return "done"

    with Mesh.from_dict(DOCUMENT):
        assert report() == "done"


def test_the_kind_of_mesh_is_that_of_the_caller() -> None:
    class Ours(Mesh):
        pass

    with Ours.from_dict(DOCUMENT, name="ours") as mesh:
        assert type(mesh) is Ours and mesh.name == "ours"
