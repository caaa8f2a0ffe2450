"""What was watched in the parent is watched in its forked children: files, stores, the health of endpoints."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.census import none_under_way, under_way
from support.children import elsewhere, in_child
from support.loopback import served
from support.scripted import Peer, answering

from meshlib import Mesh, Verdict
from meshlib.balancing import Endpoint, make_balancer
from meshlib.discovery.etcd_store import EtcdStore
from meshlib.discovery.file_store import FileStore
from meshlib.discovery.process_status import running_processes
from meshlib.discovery.store import MemoryStore
from meshlib.events import AttemptFinished
from meshlib.telemetry.figures import Figures, between, read_figures

ONE = "services: {u: {}}\nclusters: {u: {endpoints: ['h:1']}}\n"
TWO, THREE = ONE.replace("h:1", "h:2"), ONE.replace("h:1", "h:3")


@pytest.fixture(autouse=True)
def census() -> Iterator[None]:
    with none_under_way():
        yield


def ports(mesh: Mesh) -> list[int]:
    return [one.port for one in mesh.current.clusters["u"].balancer.endpoints]


def until(condition: Callable[[], bool]) -> bool:
    """Wait for it; in a child, `in_child` has a limit."""
    while not condition():
        time.sleep(0.005)
    return True


# --- files and stores --------------------------------------------------------------------------------------------


def test_a_child_and_its_parent_both_see_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ONE)
    with Mesh.from_file(path) as mesh:

        def child() -> bool:
            path.write_text(TWO)
            return until(lambda: ports(mesh) == [2])

        assert in_child(child)
        assert until(lambda: ports(mesh) == [2])


def test_a_child_of_a_child_sees_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ONE)
    with Mesh.from_file(path) as mesh:

        def child() -> tuple[bool, bool]:
            path.write_text(TWO)
            return in_child(lambda: until(lambda: ports(mesh) == [2])), until(lambda: ports(mesh) == [2])

        assert in_child(child) == (True, True)


def test_an_endpoints_file_that_appeared_after_the_fork_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ONE)
    with Mesh.from_file(path) as mesh:

        def child() -> bool:
            (tmp_path / "e.json").write_text('["h:2"]')
            path.write_text("services: {u: {}}\nclusters: {u: {endpoints_from: {file: e.json}}}\n")
            until(lambda: ports(mesh) == [2])
            (tmp_path / "e.json").write_text('["h:3"]')
            return until(lambda: ports(mesh) == [3])

        assert in_child(child)


def test_what_the_parent_was_just_reading_is_read_in_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, paused = tmp_path / "mesh.yaml", list[Callable[[], None]]()
    path.write_text(ONE)
    with Mesh.from_file(path) as mesh:
        publish = mesh.publish

        def slow(change: Any) -> Any:
            if paused:
                paused.pop()()
            return publish(change)

        monkeypatch.setattr(mesh, "publish", slow)

        def edit(pause: Callable[[], None]) -> None:
            reached = threading.Event()
            paused.append(lambda: (reached.set(), pause()))
            path.write_text(TWO)
            reached.wait(10)

        with elsewhere(edit):
            assert ports(mesh) == [1]
            assert in_child(lambda: until(lambda: ports(mesh) == [2]))
        assert until(lambda: ports(mesh) == [2])


def test_a_mesh_that_was_closed_stays_closed_in_a_child(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ONE)
    mesh = Mesh.from_file(path)
    mesh.close()
    assert in_child(lambda: [one.name for one in threading.enumerate() if "watch" in one.name]) == []


def test_a_child_can_close_the_mesh_and_its_parent_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(ONE)
    with Mesh.from_file(path) as mesh:
        assert in_child(mesh.close) is None
        path.write_text(TWO)
        assert until(lambda: ports(mesh) == [2])


def test_a_file_store_is_watched_and_written_in_a_child(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store.yaml")
    store.put(ONE)
    with Mesh.from_store(store, copy=tmp_path / "copy.yaml") as mesh:

        def child() -> tuple[bool, bool]:
            store.put(TWO)
            known = os.getpid() in {facts["pid"] for facts, _ in running_processes(tmp_path / "copy.yaml")}
            return until(lambda: ports(mesh) == [2]), known

        assert in_child(child) == (True, True)
        assert until(lambda: ports(mesh) == [2])
        store.put(THREE)
        assert until(lambda: ports(mesh) == [3])


def test_a_store_is_not_locked_by_a_child_that_was_forked_while_it_was_written(tmp_path: Path) -> None:
    store, child_is_over = FileStore(tmp_path / "store.yaml"), threading.Event()
    store.put(ONE)

    def write(pause: Callable[[], None]) -> None:
        with store._locked():
            pause()

    def child() -> None:
        os.read(read_end, 1)  # lives on, with all that it has got from its parent

    read_end, write_end = os.pipe()
    with elsewhere(write):
        living = threading.Thread(target=lambda: (in_child(child), child_is_over.set()))
        living.start()
        time.sleep(0.1)  # nothing depends on it: at worst the fork comes too late to show anything
    assert store.put(TWO).text == TWO and not child_is_over.is_set()
    os.write(write_end, b".")
    living.join()


def test_a_store_in_memory_tells_a_child_what_its_parent_was_just_telling() -> None:
    store, paused = MemoryStore(ONE), list[Callable[[], None]]()
    store.watch(lambda entry: paused.pop()() if paused else None)
    mesh = Mesh.from_store(store)

    def write(pause: Callable[[], None]) -> None:
        paused.append(pause)
        store.put(TWO)

    def child() -> list[list[int]]:
        found = [ports(mesh)]
        store.put(THREE)
        return [*found, ports(mesh)]

    with elsewhere(write):
        assert ports(mesh) == [1]
        assert in_child(child) == [[2], [3]]
    assert ports(mesh) == [2]


@pytest.mark.needs("etcd")
def test_an_etcd_is_watched_in_a_child_and_the_parents_connection_stays_its_own(etcd: str) -> None:
    store = EtcdStore(etcd, f"/forked/{next(itertools.count())}/{os.getpid()}")
    store.put(ONE)
    with Mesh.from_store(store) as mesh:

        def child() -> bool:
            store.put(TWO)
            found = until(lambda: ports(mesh) == [2])
            mesh.close()
            return found

        assert in_child(child)
        assert until(lambda: ports(mesh) == [2])
        store.put(THREE)
        assert until(lambda: ports(mesh) == [3])


# --- figures -----------------------------------------------------------------------------------------------------


def test_the_figures_of_children_are_added_up(tmp_path: Path) -> None:
    figures, path = Figures(), tmp_path / "figures.json"

    def told(times: int) -> None:
        for _ in range(times):
            figures(AttemptFinished("v2", "users", "h:1", 1, Verdict.SUCCESS, 0.01))

    def child(times: int) -> bool:
        told(times)
        mine = path.with_name(f"figures.json.{os.getpid()}")
        return until(lambda: mine.exists() and json.loads(mine.read_text()).get("v2", {}).get("requests") == times)

    told(1)
    end = figures.publish(path, every=0.01)
    assert in_child(lambda: child(2)) and in_child(lambda: child(4))
    end()
    before = {"requests": 0, "failures": 0, "seconds": 0.0, "buckets": {}}
    assert between(before, read_figures(path)["v2"], 1.0)["requests"] == 7
    Figures().publish(path)()  # whoever begins anew begins with nothing
    assert read_figures(path) == {} and list(tmp_path.iterdir()) == [path]


# --- endpoints ---------------------------------------------------------------------------------------------------


def test_calls_of_the_parent_are_not_in_flight_in_a_child_and_nothing_else_is_forgotten() -> None:
    balancer = make_balancer("default", "users", [Endpoint("h", number) for number in (1, 2)])
    one, other = balancer.endpoints
    for now in range(40):
        one.leave(one.enter(now), Verdict.SUCCESS, now + 0.1, 0.1)
        other.leave(other.enter(now), Verdict.SUCCESS, now + 0.1, 0.1)
    held = [one.enter(40.0) for _ in range(5)]
    one.answered(held[0], 40.1)

    def child() -> tuple[list[int], float, str, dict[str, int]]:
        one.leave(held[1], Verdict.SUCCESS, 41.0, 1.0)  # of a call that the parent had under way
        later = [balancer.pick(lambda: 0.3, 100.0 + number).address for number in range(9)]
        return [one.pending, other.pending], one.peak, one.state, {**under_way(), "picked": len(later)}

    assert in_child(child) == ([0, 0], pytest.approx(one.peak), "ok", {"picked": 9})
    assert one.pending == 5
    for permit in held:
        one.leave(permit, Verdict.IGNORED, 41.0, 1.0)


def test_who_is_ill_is_ill_in_a_child_and_is_probed_again_there() -> None:
    balancer = make_balancer("default", "users", [Endpoint("h", number) for number in (1, 2)])
    one = balancer.endpoints[0]
    one.eject("ejected", "a test", 0.0)
    probe = next(picked for now in itertools.count(1) if (picked := balancer.pick(lambda: 0.5, float(now))) is one)
    permit = probe.enter(9.0)
    assert one.state == "probing"

    def child() -> tuple[str, bool, str]:
        was = one.state
        again = any(balancer.pick(lambda: 0.5, 10.0 + step) is one for step in range(20))
        one.leave(one.enter(30.0), Verdict.SUCCESS, 30.1, 0.1)
        return was, again, one.state

    assert in_child(child) == ("ejected", True, "ok")
    one.leave(permit, Verdict.IGNORED, 9.1, 0.1)


@pytest.mark.parametrize("torn", ["falling ill", "recovering"])
def test_an_endpoint_that_was_just_moved_is_whole_in_a_child(torn: str) -> None:
    balancer = make_balancer("default", "users", [Endpoint("h", number) for number in (1, 2)])
    one, health, draw = balancer.endpoints[0], balancer.health, Random(1).random
    one.eject("ejected", "a test", 0.0)

    def half(pause: Callable[[], None]) -> None:
        with health.lock:
            if torn == "falling ill":
                health.ejected.pop(one)
                health._queue.clear()
                one.ejection.due = float("inf")
            else:
                one.healthy = True
            pause()
            one.healthy, health.ejected[one] = False, None

    def child() -> tuple[bool, bool]:
        return one in health.ejected, any(balancer.pick(draw, 5.0 + step) is one for step in range(40))

    with elsewhere(half):
        assert in_child(child) == (torn == "falling ill", True)


@pytest.mark.parametrize("name", ["default", "round_robin", "least_request", "prequal", "reported_weights", "aperture"])
def test_each_balancer_picks_in_a_child_and_so_does_a_copy_of_it(name: str) -> None:
    from copy import copy

    balancer = make_balancer(name, "users", [Endpoint("h", number, weight=number) for number in (1, 2, 3)])
    layered = make_balancer(name, "users", [Endpoint("h", number, priority=number % 2) for number in (1, 2, 3)])
    all_of_them = [balancer, copy(balancer), layered, copy(layered)]
    permits = [(one, one.enter(0.0)) for one in (*balancer.endpoints, *layered.endpoints)]

    def child() -> tuple[int, int]:
        picked = [one.pick(lambda: 0.5, 1.0) for one in all_of_them]
        return len(picked), sum(one.pending for each in all_of_them for one in each.endpoints)

    assert in_child(child) == (4, 0)
    for one, permit in permits:
        one.leave(permit, Verdict.IGNORED, 1.0, 1.0)


def test_endpoints_are_checked_in_a_child(tmp_path: Path) -> None:
    checks = threading.Semaphore(0)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            checks.release()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with served(script) as server:
        check = "{http: /, interval: 10ms, initial_jitter: 0s, initially: false}"
        cluster = f"{{endpoints: ['127.0.0.1:{server.port}'], health_check: {check}}}"
        (tmp_path / "mesh.yaml").write_text(f"services: {{u: {{}}}}\nclusters: {{u: {cluster}}}\n")
        with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as mesh:
            one = mesh.current.clusters["u"].balancer.endpoints[0]
            assert until(lambda: one.healthy)

            def child() -> bool:
                one.hold("health check", 0.0, "a test")
                one.release("health check", 0.0)
                checks_of = mesh.current.clusters["u"].settings.health_check
                assert checks_of is not None and one.healthy
                until(lambda: any("caretaker" in thread.name for thread in threading.enumerate()))
                mesh.close()
                return True

            assert in_child(child)
            while checks.acquire(blocking=False):
                pass
            assert checks.acquire(timeout=10)  # the parent's go on


def test_an_answer_in_a_child_comes_over_the_childs_own_connection(tmp_path: Path) -> None:
    """The checks of a child have connections of their own, and the parent's stay open."""
    with served(answering()) as server:
        check = "{http: /, interval: 10ms, initial_jitter: 0s}"
        cluster = f"{{endpoints: ['127.0.0.1:{server.port}'], health_check: {check}}}"
        (tmp_path / "mesh.yaml").write_text(f"services: {{u: {{}}}}\nclusters: {{u: {cluster}}}\n")
        with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as mesh:
            until(lambda: len(server.requests) > 1)

            def child() -> bool:
                before = len(server.peers)  # a copy, which stays as it is
                time.sleep(0.1)
                mesh.close()
                return before == 1

            assert in_child(child)
            assert until(lambda: len(server.peers) == 2)
            last = max(index for index, (peer, _) in enumerate(server.requests) if peer == 1)
            assert until(lambda: len(server.requests) > last + 3 and server.requests[-1][0] == 0)
