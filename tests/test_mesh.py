"""One picture, replaced whole: readers never see half a change, writers come one after the other."""

from __future__ import annotations

import threading
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from meshlib import Mesh, Snapshot
from meshlib.events import Event, SnapshotPublished
from meshlib.routing.request import Random, RouteRequest
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable, ServiceRoutes


def test_publishing_counts_versions_and_keeps_the_old_picture_as_it_was() -> None:
    mesh = Mesh()
    old = mesh.current
    new = mesh.publish(lambda now: replace(now, version=99))
    assert (old.version, new.version) == (0, 1)
    assert mesh.current is new


def test_a_change_that_raises_changes_nothing() -> None:
    mesh = Mesh()
    before = mesh.current
    with pytest.raises(ZeroDivisionError):
        mesh.publish(lambda now: replace(now, version=1 // 0))
    assert mesh.current is before
    assert mesh.publish(lambda now: now).version == 1


def test_a_listener_of_a_publication_may_publish() -> None:
    mesh, heard = Mesh(), list[int]()

    def listen(event: Event) -> None:
        assert isinstance(event, SnapshotPublished)
        heard.append(event.version)
        if event.version < 3:
            mesh.publish(lambda now: now)

    mesh.subscribe(listen)
    mesh.publish(lambda now: now)
    assert (heard, mesh.version) == ([1, 2, 3], 3)


def test_what_a_change_sets_off_is_published_before_it_and_not_lost() -> None:
    mesh, made = Mesh(), list[str]()

    def change(now: Snapshot) -> Snapshot:
        if not made:
            made.append("inner")
            mesh.publish(lambda now: replace(now, clusters={"inner": None}))  # type: ignore[dict-item]
        return replace(now, clusters={**now.clusters, "outer": None})  # type: ignore[dict-item]

    def publish() -> None:
        mesh.publish(change)

    writer = threading.Thread(target=publish, daemon=True)
    writer.start()
    writer.join(5.0)
    assert not writer.is_alive()
    assert (list(mesh.current.clusters), mesh.version) == (["inner", "outer"], 2)


def test_changes_that_set_off_changes_for_ever_are_an_error() -> None:
    mesh = Mesh()

    def change(now: Snapshot) -> Snapshot:
        mesh.publish(lambda now: now)
        return now

    with pytest.raises(RuntimeError, match="each change publishes another one"):
        mesh.publish(change)


def test_writers_from_many_threads_lose_nothing() -> None:
    mesh = Mesh()

    def write() -> None:
        for _ in range(100):
            mesh.publish(lambda now: now)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mesh.current.version == 800


def test_a_reader_never_sees_half_a_change() -> None:
    mesh = Mesh()
    torn: list[Snapshot] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            now = mesh.current
            if len(now.routes.services) != now.version:
                torn.append(now)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for version in range(1, 300):
        table = RouteTable([ServiceRoutes(f"s{n}", default=None) for n in range(version)])
        mesh.publish(lambda now, table=table: replace(now, routes=table))
    done.set()
    for reader in readers:
        reader.join()
    assert not torn


def fate(mesh: Mesh, host: str) -> str:
    decision = mesh.current.routes.resolve(RouteRequest(host), lambda: 0.5)
    return "out" if decision is None else decision.cluster or "refused"


def test_a_name_that_was_a_service_stays_known_whatever_is_published_then() -> None:
    mesh = Mesh(Snapshot(routes=RouteTable([ServiceRoutes("first", default=Split("a"))])))
    users = RouteTable([ServiceRoutes("users", default=Split("a"))])
    mesh.publish(lambda now: replace(now, routes=users))
    mesh.publish(lambda now: Snapshot())
    for _ in range(3):
        assert (fate(mesh, "users"), fate(mesh, "first"), fate(mesh, "elsewhere")) == ("refused", "refused", "out")
        mesh.publish(lambda now: Snapshot())
    mesh.publish(lambda now: replace(now, routes=users))
    assert (fate(mesh, "users"), fate(mesh, "first")) == ("a", "refused")
    with pytest.raises(ZeroDivisionError):
        mesh.publish(lambda now: Snapshot(version=1 // 0))
    assert (fate(mesh, "users"), fate(mesh, "first")) == ("a", "refused")


def test_a_stand_in_for_the_route_table_makes_the_mesh_forget_nothing() -> None:
    class StandIn:
        def resolve(self, request: RouteRequest, random: Random) -> None: ...

    mesh = Mesh(Snapshot(routes=RouteTable([ServiceRoutes("users", default=Split("a"))])))
    mesh.publish(lambda now: replace(now, routes=StandIn()))  # type: ignore[arg-type]
    mesh.publish(lambda now: Snapshot())
    assert fate(mesh, "users") == "refused"


def test_fresh_names_with_each_of_a_thousand_pictures_cost_bounded_memory() -> None:
    mesh = Mesh()
    for number in range(1_000):
        names = [f"preview-{number}-{one}.example.com" for one in range(50)]
        table = RouteTable([ServiceRoutes("preview", hosts=names, default=Split("a"))])
        mesh.publish(lambda now, table=table: replace(now, routes=table))
    former = mesh.current.routes._former
    assert former.full and not former.hosts.entries
    assert (fate(mesh, "preview-999-9.example.com"), fate(mesh, "preview-0-0.example.com")) == ("a", "refused")
    assert fate(mesh, "elsewhere") == "refused"


@pytest.mark.anyio
async def test_newer_than_waits_for_the_next_picture_from_any_thread() -> None:
    mesh = Mesh()
    assert (await mesh.newer_than(-1)).version == 0
    seen: list[int] = []

    async def wait() -> None:
        seen.append((await mesh.newer_than(0)).version)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        await anyio.to_thread.run_sync(mesh.publish, lambda now: now)
    assert seen == [1, 1]
    assert not mesh._waiting
