"""The store in a real etcd: nothing is lost and nothing comes twice, whatever happens to the server meanwhile."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from servers.etcd import Etcd
from support.waiting import wait_until

from meshlib import Mesh
from meshlib.cli import main
from meshlib.discovery.etcd_store import EtcdStore
from meshlib.discovery.store import Conflict, Entry, StoreAway

pytestmark = pytest.mark.needs("etcd")
_keys = itertools.count()


@pytest.fixture
def store(etcd: str) -> EtcdStore:
    return EtcdStore(etcd, f"/test/{next(_keys)}")


class Watched:
    """What a watch told, in order."""

    def __init__(self, store: EtcdStore) -> None:
        self.entries: Queue[Entry] = Queue()
        self.told: Queue[str | None] = Queue()
        self.close = store.watch(self.entries.put, self.told.put)

    def next(self, patience: float = 15.0) -> str:
        return self.entries.get(timeout=patience).text

    def nothing_more(self, seconds: float = 0.3) -> bool:
        try:
            self.entries.get(timeout=seconds)
        except Empty:
            return True
        return False


@pytest.fixture
def watch() -> Iterator[Callable[[EtcdStore], Watched]]:
    begun: list[Watched] = []

    def begin(store: EtcdStore) -> Watched:
        begun.append(Watched(store))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def call(address: str, path: str, body: dict[str, Any]) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", json.dumps(body).encode()) as answer:
        return json.loads(answer.read())


def compact(address: str, revision: str) -> None:
    call(address, "/v3/kv/compaction", {"revision": revision, "physical": True})


def test_a_writer_replaces_only_what_it_has_seen(store: EtcdStore) -> None:
    assert store.get() is None and store.history() == []
    first = store.put("one", expected="")
    second = store.put("two", expected=first.revision)
    for stale in ("", first.revision):
        with pytest.raises(Conflict) as caught:
            store.put("three", expected=stale)
        assert caught.value.found == second.revision
    now = store.get()
    assert now is not None and (now.text, now.revision) == ("two", second.revision)
    store.put("whatever it is")
    assert [entry.text for entry in store.history()] == ["whatever it is", "two", "one"]
    assert [entry.text for entry in store.history(limit=2)] == ["whatever it is", "two"]


def test_of_many_writers_with_one_revision_one_wins(store: EtcdStore) -> None:
    revision = store.put("start").revision
    won: list[str] = []

    def write(text: str) -> None:
        try:
            store.put(text, expected=revision)
            won.append(text)
        except Conflict:
            pass

    threads = [threading.Thread(target=write, args=(f"writer {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = store.get()
    assert now is not None and won == [now.text]


def test_history_ends_where_etcd_was_compacted(store: EtcdStore) -> None:
    store.put("one")
    second = store.put("two")
    store.put("three")
    compact(f"{store.host}:{store.port}", second.revision)
    assert [entry.text for entry in store.history()] == ["three", "two"]


def test_text_of_any_script_and_size_survives(store: EtcdStore) -> None:
    text = "grüße 🌍\n" * 20_000
    store.put(text)
    now = store.get()
    assert now is not None and now.text == text


def test_a_watch_begins_with_what_is_there(store: EtcdStore, watch: Callable[[EtcdStore], Watched]) -> None:
    store.put("one")
    seen = watch(store)
    assert seen.next() == "one"
    for text in ("two", "three"):
        store.put(text)
    assert [seen.next(), seen.next()] == ["two", "three"]
    assert seen.nothing_more() and seen.told.empty()


def test_a_watch_of_an_empty_key_hears_the_first_text(store: EtcdStore, watch: Callable[[EtcdStore], Watched]) -> None:
    seen = watch(store)
    assert seen.nothing_more()
    store.put("one")
    assert seen.next() == "one"


def test_a_burst_of_changes_comes_whole_and_in_order(store: EtcdStore, watch: Callable[[EtcdStore], Watched]) -> None:
    store.put("before")
    seen = watch(store)
    assert seen.next() == "before"
    texts = [f"text {number}" for number in range(100)]
    for text in texts:
        store.put(text)
    assert [seen.next() for _ in texts] == texts
    assert seen.nothing_more()


def test_a_text_that_is_deleted_is_told_and_the_last_one_stays(
    store: EtcdStore, watch: Callable[[EtcdStore], Watched]
) -> None:
    store.put("one")
    seen = watch(store)
    assert seen.next() == "one"
    call(f"{store.host}:{store.port}", "/v3/kv/deleterange", {"key": base64.b64encode(store.key.encode()).decode()})
    assert "no text" in (seen.told.get(timeout=10) or "")
    assert store.get() is None and seen.nothing_more()
    store.put("two", expected="")
    assert seen.next() == "two"
    assert seen.told.get(timeout=10) is None


def test_a_server_that_is_killed_and_restarted_loses_and_repeats_nothing(
    own_etcd: Etcd, watch: Callable[[EtcdStore], Watched]
) -> None:
    store = EtcdStore(own_etcd.address, "/test/killed")
    store.put("before")
    seen = watch(store)
    assert seen.next() == "before"  # from here on it watches
    expected = []
    for again in range(3):
        for number in range(5):
            expected.append(f"{again}.{number}")
            store.put(expected[-1])
        own_etcd.kill()
        with pytest.raises(StoreAway):
            store.put("nobody hears this")
        own_etcd.start()
        expected.append(f"{again}.back")
        store.put(expected[-1])
    assert [seen.next() for _ in expected] == expected
    assert seen.nothing_more()
    told = [seen.told.get_nowait() for _ in range(seen.told.qsize())]
    assert told[0] is not None and told[-1] is None  # who is slow to see the first return misses the next absence
    assert all(before is not None for before, now in itertools.pairwise(told) if now is None)


def test_what_was_compacted_while_away_is_read_afresh(own_etcd: Etcd, watch: Callable[[EtcdStore], Watched]) -> None:
    store = EtcdStore(own_etcd.address, "/test/compacted")
    gate = threading.Event()
    entries: list[str] = []
    passed = threading.Semaphore(0)

    def changed(entry: Entry) -> None:
        entries.append(entry.text)
        passed.release()
        if len(entries) == 1:
            gate.wait(15)  # a slow reader: the watch stands still meanwhile

    store.put("one")
    close = store.watch(changed)
    try:
        assert passed.acquire(timeout=10)
        own_etcd.kill()
        own_etcd.start()
        for number in range(5):
            last = store.put(f"while away {number}")
        compact(own_etcd.address, last.revision)
        gate.set()
        assert passed.acquire(timeout=15)
        store.put("after")
        assert passed.acquire(timeout=15)
    finally:
        close()
    assert entries == ["one", "while away 4", "after"]


def test_a_store_that_was_wiped_is_read_from_its_new_beginning(
    own_etcd: Etcd, watch: Callable[[EtcdStore], Watched], tmp_path: Path
) -> None:
    """A new etcd counts its revisions from 1 again; what is in it is news all the same."""
    store = EtcdStore(own_etcd.address, "/test/wiped")
    for number in range(20):
        store.put(f"old {number}")
    seen = watch(store)
    assert seen.next() == "old 19"
    own_etcd.kill()
    (tmp_path / "data").rename(tmp_path / "lost")
    own_etcd.start()
    store.put("new")
    assert seen.next() == "new"
    store.put("newer")
    assert seen.next() == "newer"


def test_a_silent_watch_ends_at_once_when_it_is_closed(store: EtcdStore) -> None:
    store.put("one")
    seen = Watched(store)
    seen.next()
    seen.close()  # it does not wait for longer than two seconds: then the thread would still be there
    assert not [thread for thread in threading.enumerate() if thread.name == f"meshlib {store.name}"]


MESH = "services: {a: {}}\nclusters: {a: {endpoints: ['h:1']}}\n"


def test_the_command_works_on_etcd(etcd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"etcd://{etcd}/test/command"
    (tmp_path / "one.yaml").write_text(MESH)
    (tmp_path / "two.yaml").write_text(MESH.replace("h:1", "h:2"))
    assert main(["routes", "put", where, str(tmp_path / "one.yaml")]) == 0
    assert main(["routes", "put", where, str(tmp_path / "two.yaml")]) == 0
    assert main(["routes", "rollback", where]) == 0
    capsys.readouterr()
    assert main(["routes", "get", where]) == 0
    assert capsys.readouterr().out == MESH
    assert main(["routes", "history", where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["routes", "diff", where]) == 0
    assert "+clusters: {a: {endpoints: ['h:1']}}" in capsys.readouterr().out


def test_a_mesh_keeps_its_last_good_picture_and_starts_cold_from_the_copy(own_etcd: Etcd, tmp_path: Path) -> None:
    store = EtcdStore(own_etcd.address, "/test/mesh")
    store.put(MESH)
    copy = tmp_path / "copy.yaml"
    with Mesh.from_store(store, copy=copy) as mesh:
        assert "a" in mesh.current.services
        own_etcd.kill()
        assert "a" in mesh.current.services
    with Mesh.from_store(store, copy=copy) as cold:
        assert [str(one.address) for one in cold.current.clusters["a"].balancer.endpoints] == ["h:1"]
        version = cold.version
        own_etcd.start()
        store.put(MESH.replace("h:1", "h:2"))
        wait_until(lambda: cold.current.clusters["a"].balancer.endpoints[0].address == "h:2")
        assert cold.version > version
        assert cold.current.clusters["a"].balancer.endpoints[0].address == "h:2"


def test_without_a_copy_a_store_that_is_away_is_an_error(own_etcd: Etcd) -> None:
    own_etcd.kill()
    with pytest.raises(StoreAway):
        Mesh.from_store(EtcdStore(own_etcd.address, "/test/none", timeout=0.5), wait=0.5)
