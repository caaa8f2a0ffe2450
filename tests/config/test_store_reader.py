"""A mesh follows its store, keeps the last good snapshot, and can start from the copy of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh
from meshlib.cli import main
from meshlib.discovery.file_store import FileStore
from meshlib.discovery.process_status import ProcessStatus, running_processes
from meshlib.discovery.store import Changed, MemoryStore, StoreAway, Told
from meshlib.events import ConfigRefused, Event, SourceBack

TEXT = "services: {a: {}}\nclusters: {a: {endpoints: [h:1]}}\n"


class Away(MemoryStore):
    """A store that cannot be reached until `come`."""

    def watch(self, changed: Changed, told: Told = lambda problem: None) -> Callable[[], None]:
        told("nobody there")

        def come(text: str) -> None:
            told(None)
            self.put(text)
            super(Away, self).watch(changed, told)

        self.come = come
        return lambda: None


def addresses(mesh: Mesh) -> list[str]:
    return [e.address for e in mesh.current.clusters["a"].balancer.endpoints]


def test_a_new_text_in_the_store_is_the_new_picture() -> None:
    store = MemoryStore(TEXT)
    mesh = Mesh.from_store(store)
    store.put(TEXT.replace("h:1", "h:2"))
    assert addresses(mesh) == ["h:2"]


def test_a_bad_text_in_the_store_is_refused_and_told() -> None:
    store = MemoryStore(TEXT)
    mesh = Mesh.from_store(store)
    events: list[Event] = []
    mesh.subscribe(events.append)
    store.put("services: {a: {retrys: 1}}")
    assert addresses(mesh) == ["h:1"]
    assert isinstance(events[-1], ConfigRefused) and "did you mean 'retry'" in str(events[-1].error)


def test_a_first_text_that_makes_no_sense_is_an_error() -> None:
    with pytest.raises(ConfigError, match="memory@1"):
        Mesh.from_store(MemoryStore("services: 1"))


def test_without_a_text_and_without_a_copy_there_is_no_mesh() -> None:
    with pytest.raises(StoreAway, match="nobody there"):
        Mesh.from_store(Away(), wait=0.01)


def test_a_cold_start_begins_with_the_copy_and_goes_on_with_the_store(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    Mesh.from_store(MemoryStore(TEXT), copy=copy).close()
    store = Away()
    mesh = Mesh.from_store(store, copy=copy)
    assert addresses(mesh) == ["h:1"]
    events: list[Event] = []
    mesh.subscribe(events.append)
    store.come(TEXT.replace("h:1", "h:9"))
    assert addresses(mesh) == ["h:9"]
    assert [type(event) for event in events[:1]] == [SourceBack]
    assert copy.read_text() == TEXT.replace("h:1", "h:9")


def test_a_bad_text_after_a_start_with_the_copy_is_refused_and_told(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    Mesh.from_store(MemoryStore(TEXT), copy=copy).close()
    store = Away()
    mesh = Mesh.from_store(store, copy=copy)
    events: list[Event] = []
    mesh.subscribe(events.append)
    store.come("services: {a: {retrys: 1}}")
    assert addresses(mesh) == ["h:1"]
    assert isinstance(events[-1], ConfigRefused)


MANIFEST = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a, port: {number: 80}}}]}], exportTo: ["."]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
"""


def test_a_store_may_hold_manifests_of_another_mesh(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(MANIFEST)
    mesh = Mesh.from_store(store)
    assert [e.address for e in mesh.current.clusters["a:80"].balancer.endpoints] == ["10.0.0.1:80"]
    store.put(MANIFEST.replace("10.0.0.1", "10.0.0.2"))
    assert [e.address for e in mesh.current.clusters["a:80"].balancer.endpoints] == ["10.0.0.2:80"]
    assert sum("exportTo" in record.message for record in caplog.records) == 1, "each thing is told once"


def test_a_process_says_beside_the_copy_what_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, shared = tmp_path / "copy.yaml", FileStore(tmp_path / "mesh.yaml")
    shared.put(TEXT)
    store = MemoryStore(TEXT)
    with Mesh.from_store(store, copy=copy):
        (facts, _), *others = running_processes(copy)
        assert not others and facts["pid"] == os.getpid() and (facts["revision"], facts["refused"]) == ("1", None)
        store.put("services: {a: {retrys: 1}}")
        assert main(["status", str(shared.path), "--copy", str(copy)]) == 0
        shown = capsys.readouterr().out
        assert f"process {os.getpid()}: runs revision 1, snapshot 1" in shown
        assert "refused the newest text" in shown and "did you mean 'retry'" in shown
    assert list(running_processes(copy)) == []


def test_a_process_that_runs_the_copy_says_so_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.yaml"
    FileStore(copy).put(TEXT)
    with Mesh.from_store(Away(), copy=copy, wait=0.01):
        assert main(["status", str(tmp_path / "nowhere.yaml"), "--copy", str(copy)]) == 1
        shown = capsys.readouterr().out
        assert "runs the copy, revision" in shown and "away, the last good snapshot stays: nobody there" in shown


def test_what_a_process_that_is_no_more_said_is_taken_away(tmp_path: Path) -> None:
    ProcessStatus(tmp_path / "copy.yaml").update(revision="1")
    mine = tmp_path / ".copy.yaml.processes" / f"{os.getpid()}.json"
    mine.rename(mine.with_name(f"{2**22 + 1}.json"))  # above every process id that Linux gives
    assert list(running_processes(tmp_path / "copy.yaml")) == []
    assert list(mine.parent.glob("*.json")) == []
