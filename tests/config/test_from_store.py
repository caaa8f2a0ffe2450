"""A mesh follows its store, keeps the last good picture, and can start from the copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh
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
