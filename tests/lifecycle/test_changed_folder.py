"""A process that goes to another folder (daemons go to /) keeps reading the files that were named before it went."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.config.manifests import anchored, files_of
from meshlib.config.reader import MeshReader
from meshlib.discovery.file_store import FileStore
from meshlib.telemetry.figures import Figures

ONE = "services: {u: {}}\nclusters: {u: {endpoints: ['h:1']}}\n"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: u}
spec: {hosts: [u], ports: [{number: 1, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: h}]}
"""


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the process is at first. The signs in its name would mean something in a pattern."""
    folder = tmp_path / "before [v1]*"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "after"
    other.mkdir()
    monkeypatch.chdir(other)


def ports(mesh: Mesh) -> list[int]:
    return [one.port for cluster in mesh.current.clusters.values() for one in cluster.balancer.endpoints]


def reader_of(path: str | Path) -> tuple[Mesh, MeshReader]:
    mesh = Mesh()
    reader = MeshReader(mesh, path)
    reader.load()
    return mesh, reader


def test_an_edit_of_a_mesh_file_is_seen(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mesh.yaml").write_text(ONE)
    mesh, reader = reader_of("mesh.yaml")
    leave(monkeypatch, tmp_path)
    (before / "mesh.yaml").write_text(ONE.replace("h:1", "h:2"))
    assert all(path.is_absolute() for path in reader.seen())
    reader.reload()
    assert ports(mesh) == [2]


def test_an_edit_of_an_endpoints_file_is_seen(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mesh.yaml").write_text("services: {u: {}}\nclusters: {u: {endpoints_from: {file: sub/e.json}}}\n")
    Path("sub").mkdir()
    Path("sub/e.json").write_text('["h:1"]')
    mesh, reader = reader_of("./mesh.yaml")
    leave(monkeypatch, tmp_path)
    (before / "sub/e.json").write_text('["h:1", "h:2"]')
    reader.reload()
    assert ports(mesh) == [1, 2]


def test_a_link_is_followed_anew_at_each_reading(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, text in (("one", ONE), ("two", ONE.replace("h:1", "h:2"))):
        Path(version).mkdir()
        Path(version, "mesh.yaml").write_text(text)
    Path("current").symlink_to("one")
    mesh, reader = reader_of("current/mesh.yaml")
    leave(monkeypatch, tmp_path)
    (before / "next").symlink_to("two")
    (before / "next").replace(before / "current")
    reader.reload()
    assert ports(mesh) == [2]


@pytest.mark.parametrize("path", ["istio", "istio/*.yaml", "istio/entry.yaml", "./istio/../istio"])
def test_an_edit_of_manifests_is_seen(path: str, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("istio").mkdir()
    Path("istio/entry.yaml").write_text(ENTRY)
    mesh, reader = reader_of(path)
    leave(monkeypatch, tmp_path)
    (before / "istio/entry.yaml").write_text(ENTRY.replace("number: 1", "number: 2"))
    reader.reload()
    assert ports(mesh) == [2]


def test_what_linkerd_looks_for_in_the_folder_of_the_process_is_seen(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config").mkdir()
    Path("disco").mkdir()
    Path("disco/web").write_text("h 1\n")
    Path("config/linkerd.yaml").write_text(
        "namers: [{kind: io.l5d.fs, rootDir: disco}]\n"
        "routers: [{protocol: http, dtab: '/svc => /#/io.l5d.fs', servers: [{port: 4140}]}]\n"
    )
    mesh, reader = reader_of("config/linkerd.yaml")
    leave(monkeypatch, tmp_path)
    (before / "disco/web").write_text("h 1\nh 2\n")
    reader.reload()
    assert ports(mesh) == [1, 2]


def test_a_store_a_copy_and_figures_stay_where_they_are(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "services: {u: {}}\nclusters: {u: {endpoints_from: {file: e.json}}}\n"
    Path("e.json").write_text('["h:1"]')
    store = FileStore("store.yaml")
    store.put(text)
    with Mesh.from_store(store, copy="copy.yaml") as mesh:
        end = Figures().publish("figures.json", every=0.01)
        leave(monkeypatch, tmp_path)
        (before / "figures.json").unlink()
        (before / "e.json").write_text('["h:2"]')
        published = mesh.version
        store.put(text + "egress: refuse\n")
        while mesh.version == published or not (before / "figures.json").exists():
            time.sleep(0.01)  # the watch's thread, and that of the figures, have a turn
        end()
        assert ports(mesh) == [2]
    assert (before / "copy.yaml").read_text() == text + "egress: refuse\n"
    assert json.loads((before / "figures.json").read_text()) == {}
    assert list((tmp_path / "after").iterdir()) == []


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(before: Path) -> None:
    Path("mesh[1].yaml").write_text(ONE)
    assert files_of([anchored("mesh[1].yaml")]) == [before / "mesh[1].yaml"]
    assert files_of([anchored("mesh*.yaml")]) == [before / "mesh[1].yaml"]
