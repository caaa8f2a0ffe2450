"""A file that is being written is judged when it is whole; one that stays cut short is refused, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from watching import Watched

from meshlib import Mesh
from meshlib.discovery import file_store
from meshlib.discovery.file_store import FileStore
from meshlib.discovery.file_watch import AGAIN
from meshlib.events import ConfigRefused, SnapshotPublished

FULL = """\
services: {users: {}}
clusters: {users: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}}
egress: refuse
pipelines: {reports: {timeout: 1s}}
"""
FROM_FILE = "services: {users: {}}\nclusters: {users: {endpoints_from: {file: e.yaml}}}\n"


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path, mesh_yaml=FULL)


def test_a_file_that_is_cut_short_and_then_written_causes_no_refusal(tmp_path: Path) -> None:
    watched = Watched(tmp_path, mesh_yaml=FULL)
    waited: list[float] = []

    def write(seconds: float) -> None:
        waited.append(seconds)
        (tmp_path / "mesh.yaml").write_text(FULL.replace(":2'", ":3'"))

    for half in ("", FULL[:20], FULL.partition("pipelines")[0]):
        watched.reader.load()
        watched.events.clear()
        (tmp_path / "mesh.yaml").write_text(half)
        watched.reader.changed(write)
        assert [type(event) for event in watched.events] == [SnapshotPublished]
        assert watched.addresses() == ["127.0.0.1:1", "127.0.0.1:3"]
    assert waited == [AGAIN] * 3


def test_a_file_that_stays_cut_short_is_refused_once(watched: Watched) -> None:
    (watched.folder / "mesh.yaml").write_text("")
    watched.reader.changed(lambda seconds: None)
    assert [type(event) for event in watched.events] == [ConfigRefused]


def test_a_file_that_grows_is_judged_at_once(watched: Watched) -> None:
    (watched.folder / "mesh.yaml").write_text(FULL + "labels: {a: b}\n")
    watched.reader.changed(lambda seconds: pytest.fail("it is not half written"))
    assert [type(event) for event in watched.events] == [SnapshotPublished]


def test_a_watched_file_that_is_truncated_is_refused_and_what_is_written_then_takes_effect(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(FROM_FILE)
    (tmp_path / "e.yaml").write_text("[127.0.0.1:1]")
    with Mesh.from_file(tmp_path / "mesh.yaml") as mesh:
        refused, published = threading.Event(), threading.Event()
        mesh.subscribe(lambda event: refused.set() if isinstance(event, ConfigRefused) else published.set())
        with (tmp_path / "e.yaml").open("w") as file:
            assert refused.wait(20) and not published.is_set()
            assert [one.address for one in mesh.current.clusters["users"].balancer.endpoints] == ["127.0.0.1:1"]
            file.write("[127.0.0.1:2]")
        assert published.wait(20)
        assert [one.address for one in mesh.current.clusters["users"].balancer.endpoints] == ["127.0.0.1:2"]


def test_a_store_in_a_file_that_is_cut_short_and_then_written_passes_on_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, looks = tmp_path / "mesh.yaml", []
    file.write_text(FULL)

    class Watch:
        def __init__(self, seen: object, look: Callable[[], None]) -> None:
            looks.append(look)

        def close(self) -> None: ...

    class Clock:
        waited: list[float] = []
        sleep = staticmethod(lambda seconds: (Clock.waited.append(seconds), file.write_text(FULL + "labels: {a: b}\n")))

    monkeypatch.setattr(file_store, "FileWatch", Watch)
    monkeypatch.setattr(file_store, "SYSTEM", Clock)
    texts: list[str] = []
    problems: list[str | None] = []
    FileStore(file).watch(lambda entry: texts.append(entry.text), problems.append)
    for half in ("", FULL[:20], None):
        file.write_text(half) if half is not None else file.unlink()
        looks[0]()
    assert texts == [FULL, FULL + "labels: {a: b}\n"] and problems == [] and Clock.waited == [AGAIN] * 3
