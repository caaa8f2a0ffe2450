"""Every store replaces only what its writer has seen, remembers what was, and tells each change once."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest

from meshlib.discovery.etcd_store import _entry
from meshlib.discovery.file_store import FileStore
from meshlib.discovery.file_watch import FileWatch, stamp
from meshlib.discovery.store import Conflict, Entry, MemoryStore, RouteStore

Make = Callable[[], RouteStore]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes clients of one and the same store."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    return lambda: FileStore(tmp_path / "mesh.yaml")


def test_an_empty_store_has_no_text(make: Make) -> None:
    assert make().get() is None
    assert make().history() == []


def test_what_was_put_is_read_with_its_revision(make: Make) -> None:
    written = make().put("one")
    read = make().get()
    assert read is not None and (read.text, read.revision) == ("one", written.revision)


def test_a_writer_replaces_only_what_it_has_seen(make: Make) -> None:
    first = make().put("one", expected="")
    make().put("two", expected=first.revision)
    with pytest.raises(Conflict, match="another writer wrote in between"):
        make().put("three", expected=first.revision)
    with pytest.raises(Conflict):
        make().put("three", expected="")
    now = make().get()
    assert now is not None and now.text == "two"


def test_of_many_writers_with_one_revision_one_wins(make: Make) -> None:
    revision = make().put("start").revision
    outcomes: list[bool] = []

    def write(text: str) -> None:
        try:
            make().put(text, expected=revision)
            outcomes.append(True)
        except Conflict:
            outcomes.append(False)

    threads = [threading.Thread(target=write, args=(f"writer {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_history_is_newest_first(make: Make) -> None:
    for text in ("one", "two", "three"):
        make().put(text)
    assert [entry.text for entry in make().history()] == ["three", "two", "one"]
    assert [entry.text for entry in make().history(2)] == ["three", "two"]


def test_a_watcher_hears_the_present_text_and_each_new_one_once(make: Make) -> None:
    make().put("one")
    heard: Queue[Entry] = Queue()
    end = make().watch(heard.put)
    assert heard.get(timeout=20).text == "one"
    make().put("two")
    assert heard.get(timeout=20).text == "two"
    end()
    make().put("three")
    assert heard.empty()


def test_a_file_edited_by_hand_is_one_more_revision(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "mesh.yaml")
    before = store.put("one").revision
    (tmp_path / "mesh.yaml").write_text("by hand")
    with pytest.raises(Conflict):
        store.put("two", expected=before)
    store.put("two")
    assert [entry.text for entry in store.history()] == ["two", "by hand", "one"]


def test_permissions_of_the_file_stay(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "mesh.yaml")
    store.put("one")
    store.path.chmod(0o640)
    store.put("two")
    assert store.path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_comes_back_is_told_even_if_nothing_in_it_changed(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "mesh.yaml")
    told: Queue[str | None] = Queue()
    texts: Queue[Entry] = Queue()
    end = store.watch(texts.put, told.put)
    assert "there is no file" in (told.get(timeout=20) or "")
    store.path.write_text("one")
    assert texts.get(timeout=20).text == "one"
    assert told.get(timeout=20) is None, "it is there now"
    store.path.unlink()
    assert "there is no file" in (told.get(timeout=20) or "")
    store.path.write_text("one")
    assert told.get(timeout=20) is None
    end()
    assert texts.empty()


def test_a_change_is_seen_where_the_system_reports_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*folders: Path, **options: object) -> Iterator[None]:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchfiles.watch", refuse)
    path = tmp_path / "mesh.yaml"
    path.write_text("one")
    seen = {path: stamp(path)}
    heard: Queue[str] = Queue()

    def changed() -> None:
        seen[path] = stamp(path)
        heard.put(path.read_text())

    watch = FileWatch(lambda: seen, changed)
    path.write_text("another")
    assert heard.get(timeout=20) == "another"
    watch.close()


def test_bytes_in_etcd_that_are_no_text_do_not_blind_the_watch() -> None:
    entry = _entry({"value": base64.b64encode(b"services: \xff").decode(), "mod_revision": "7"})
    assert entry.revision == "7", "it is passed on, and refused by whoever reads it"
    assert entry.text.startswith("services: ")
