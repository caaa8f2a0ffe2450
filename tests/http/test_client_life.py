"""The end of a client: closed while requests are under way, dropped, forked, in two loops; and refusals in a loop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from support.client_kinds import WIRED, ClientKind, Handle, Server, add, in_flight, mesh_of
from support.loopback import served
from support.scripted import OK, Peer, answering
from support.waiting import wait_until_async

from meshlib import Bulkhead, BulkheadFull, MeshError
from meshlib.http.client import client_mixins
from meshlib.routing.actions import Mirror
from meshlib.routing.route import Route
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable
from meshlib.routing.table import ServiceRoutes as Routed

pytestmark = pytest.mark.anyio
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


async def close(client: Any, client_kind: ClientKind) -> None:
    await (client.aclose() if client_kind.is_async else anyio.to_thread.run_sync(client.close))


# --- closed --------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_begins_after_the_client_was_closed_opens_nothing(
    client_kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_mixins, "GRACE", 0.0)
    full = Bulkhead(1, max_wait=60.0, name="users")
    full.enter()
    with served(answering()) as server:
        mesh = mesh_of(server.port, gates=[full])
        client: Any = Handle(client_kind.make(mesh=mesh), client_kind.is_async)
        caught: list[Any] = []

        async def ask() -> None:
            with pytest.raises(client_kind.lib.TransportError, match="the client was closed") as error:
                await client.get("http://users/")
            caught.append(error.value)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await wait_until_async(lambda: full.metrics().waiting == 1)
            await close(client.client, client_kind)
            full.leave()
    [error] = caught
    assert isinstance(error, MeshError)
    assert (str(error.request.url), error.service, error.attempt) == ("http://users/", "users", 1)
    assert server.peers == []
    assert (in_flight(mesh), full.metrics().in_flight) == (0, 0)


async def test_an_answer_that_the_closing_cuts_off_is_no_evidence_and_not_asked_for_again(
    client_kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not client_kind.is_async:
        return  # a thread's own connection cannot be taken from under it: it is answered
    monkeypatch.setattr(client_mixins, "GRACE", 0.0)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    with served(silent) as server:
        mesh = mesh_of(server.port)
        client: Any = client_kind.make(mesh=mesh)
        caught: list[Any] = []

        async def ask() -> None:
            with pytest.raises(client_kind.lib.ReadError, match="the client was closed") as error:
                await client.get("http://users/")
            caught.append(error.value)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await wait_until_async(lambda: server.requests)
            await client.aclose()
    assert isinstance(caught[0], MeshError)
    assert len(server.requests) == 1
    assert in_flight(mesh) == 0


async def test_a_mirrors_copy_opens_nothing_after_the_client_was_closed(client_kind: ClientKind) -> None:
    full = Bulkhead(1, max_wait=60.0, name="shadow")
    full.enter()
    with served(answering()) as server, served(answering()) as other:
        mesh = mesh_of(server.port)
        add(mesh, other.port, name="shadow", gates=[full])
        mirrored(mesh)
        client: Any = Handle(client_kind.make(mesh=mesh), client_kind.is_async)
        assert (await client.get("http://users/")).text == "ok"
        await wait_until_async(lambda: full.metrics().waiting == 1)
        await close(client.client, client_kind)
        full.leave()
        await wait_until_async(
            lambda: in_flight(mesh, "shadow") == 0 == full.metrics().in_flight + full.metrics().waiting
        )
    assert other.peers == []


def mirrored(mesh: Any) -> None:
    """All requests to `users` are copied to the cluster `shadow`."""
    copied = Routed("users", default=Route(to=Split("users"), mirrors=[Mirror("shadow")]))
    mesh.publish(lambda now: replace(now, routes=RouteTable([copied])))


async def test_a_redirect_under_way_is_followed_to_its_end_while_the_client_drains(client_kind: ClientKind) -> None:
    asked, answer = threading.Event(), threading.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            asked.set()
            while not answer.is_set():
                await asyncio.sleep(0.001)
            await peer.send(OK if len(server.requests) > 1 else MOVED)

    with served(script) as server:
        client: Any = Handle(client_kind.make(mesh=mesh_of(server.port), follow_redirects=True), client_kind.is_async)
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await client.get("http://users/")).text)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.to_thread.run_sync(asked.wait)
            group.start_soon(close, client.client, client_kind)
            await wait_until_async(lambda: client.client.__dict__["_meshlib_door"].closing)
            answer.set()
    assert answers == ["ok"]
    assert not client.client.__dict__["_meshlib_door"].busy


# --- dropped, forked, in two loops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_that_is_dropped_open_closes_its_connections(
    client_kind: ClientKind, anyio_backend: str
) -> None:
    if not (client_kind.is_async and client_kind.fast):
        return  # what httpx's own connections do then is httpx's affair
    with served(answering()) as server:
        client: Any = client_kind.make(mesh=mesh_of(server.port), limits=client_kind.lib.Limits(keepalive_expiry=None))
        assert (await client.get("http://users/")).text == "ok"
        assert (await client.get("http://users/")).text == "ok"
        del client
        gc.collect()
        await wait_until_async(lambda: server.peers[0].reader.at_eof())


def test_closing_in_one_loop_closes_the_connections_of_the_others() -> None:
    for client_kind in WIRED:
        if not (client_kind.is_async and client_kind.fast):
            continue
        with served(answering()) as server:
            client: Any = client_kind.make(
                mesh=mesh_of(server.port), limits=client_kind.lib.Limits(keepalive_expiry=None)
            )
            here, closed = threading.Barrier(2, timeout=10), threading.Event()

            async def ask(client: Any = client) -> str:
                await client.get("http://users/")
                return (await client.get("http://users/")).text  # type: ignore[no-any-return]

            async def stay(
                ask: Any = ask,
                here: threading.Barrier = here,
                closed: threading.Event = closed,
                client_kind: ClientKind = client_kind,
            ) -> None:
                assert await ask() == "ok"
                await asyncio.to_thread(here.wait)
                await asyncio.to_thread(closed.wait)
                with pytest.raises(RuntimeError, match="client has been closed"):
                    await ask()

            other = threading.Thread(target=lambda stay=stay: asyncio.run(stay()))  # type: ignore[misc]
            other.start()
            here.wait()

            async def close_here(client: Any = client, ask: Any = ask, server: Any = server) -> None:
                assert await ask() == "ok"
                await client.aclose()
                await wait_until_async(lambda: all(peer.reader.at_eof() for peer in server.peers))

            asyncio.run(close_here())
            closed.set()
            other.join()


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "httpx"])
def test_an_async_client_works_in_a_forked_process_and_on_in_its_parent(fast: bool) -> None:
    script = """
        import asyncio, os, sys
        sys.path.insert(0, sys.argv[2])
        from support.client_kinds import mesh_of
        from meshlib import MeshClient
        client = MeshClient(mesh=mesh_of(int(sys.argv[1]), attempts=1), fast=sys.argv[3] == "True")
        async def ask(path):
            return (await client.get("http://users/" + path)).text == "ok"
        def child(path):
            forked = os.fork()
            if not forked:
                os._exit(0 if asyncio.run(ask(path)) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
        async def main():
            assert await ask("first") and await ask("second")
            child("within")  # a loop in the child, while the parent's runs
            assert await ask("third")
        asyncio.run(main())
        child("between")
        async def last():
            assert await ask("last")
            await client.aclose()
        asyncio.run(last())
    """
    with served(answering()) as server:
        command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(server.port)]
        subprocess.run([*command, str(Path(__file__).parents[1]), str(fast)], check=True, timeout=60)
    lines = [line.split(b" ")[1] for _, line in server.requests]
    assert lines == [b"/first", b"/second", b"/within", b"/third", b"/between", b"/last"]
    by_connection = {}
    for number, line in server.requests:
        by_connection.setdefault(number, []).append(line.split(b" ")[1])
    assert [b"/within"] in by_connection.values() and [b"/between"] in by_connection.values()


# --- refused -------------------------------------------------------------------------------------------------------


async def test_who_asks_again_at_once_after_each_refusal_does_not_keep_others_from_running(
    client_kind: ClientKind,
) -> None:
    if not client_kind.is_async:
        return
    full = Bulkhead(1, name="users")
    full.enter()

    async with client_kind.open(mesh_of(1, gates=[full])) as client:
        for stream in (False, True):
            ran = anyio.Event()

            async def other(ran: anyio.Event = ran) -> None:
                ran.set()

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                for _ in range(50):  # trio's turns are in no certain order
                    with pytest.raises(BulkheadFull):
                        if stream:
                            await client.send(client.build_request("GET", "http://users/"), stream=True)
                        else:
                            await client.get("http://users/")
                assert ran.is_set()


async def test_a_client_without_a_mesh_closes_as_httpx_does(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(None, transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 200
    with pytest.raises(RuntimeError, match="client has been closed"):
        await client.get("http://users/")
