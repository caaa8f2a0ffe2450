"""A client in a forked child has connections of its own, and never touches those of its parent."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from support.census import none_under_way, under_way
from support.children import elsewhere, in_child
from support.client_kinds import CLIENT_KINDS, ClientKind, mesh_of
from support.loopback import Trust, served
from support.scripted import Peer, Server

from meshlib import Bulkhead, Mesh, MeshClient, SyncMeshClient

SYNC = [door for door in CLIENT_KINDS if not door.is_async]
ASYNC = [door for door in CLIENT_KINDS if door.is_async]


@pytest.fixture(autouse=True)
def census() -> Iterator[Callable[[], dict[str, int]]]:
    with none_under_way() as taken:
        yield taken
        gc.collect()


class Echo:
    """Answers with the path; /slow only when it is let."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.broken: list[int] = []  # connections that ended in the middle of something

    async def __call__(self, peer: Peer) -> None:
        while True:
            try:
                head = await peer.request()
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    self.broken.append(peer.number)
                raise
            path = head.split(b" ")[1]
            while path == b"/slow" and not self.go_on.is_set():
                await asyncio.sleep(0.002)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


def connections(server: Server, path: str) -> set[int]:
    return {number for number, line in list(server.requests) if line.split(b" ")[1] == path.encode()}


# --- sync --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", SYNC, ids=lambda door: door.name)
def test_parent_and_child_take_turns_over_connections_of_their_own(door: ClientKind) -> None:
    with served(Echo()) as server, door.make(mesh=mesh_of(server.port)) as client:
        numbers = itertools.count()

        def ask(who: str) -> list[str]:
            return [client.get(f"http://users/{who}/{next(numbers)}").text.split("/")[1] for _ in range(3)]

        assert ask("parent") == ["parent"] * 3
        for _ in range(2):
            assert in_child(lambda: ask("child")) == ["child"] * 3
            assert ask("parent") == ["parent"] * 3
        by_whom: dict[int, set[bytes]] = {}
        for number, line in server.requests:
            by_whom.setdefault(number, set()).add(line.split(b"/")[1])
        assert by_whom == {0: {b"parent"}, 1: {b"child"}, 2: {b"child"}}


@pytest.mark.parametrize("door", SYNC, ids=lambda door: door.name)
def test_threads_of_the_parent_hold_no_place_and_no_connection_of_a_child(door: ClientKind) -> None:
    echo, gate = Echo(), Bulkhead(3)
    with served(echo) as server, door.make(mesh=mesh_of(server.port, gates=[gate], attempts=1)) as client:

        def call(pause: Callable[[], None]) -> None:
            threading.Thread(target=letting, args=(pause,)).start()
            assert client.get("http://users/slow").text == "/slow"

        def letting(pause: Callable[[], None]) -> None:
            pause()
            echo.go_on.set()

        def child() -> tuple[list[str], dict[str, int]]:
            found = [client.get(f"http://users/{number}").text for number in range(4)]
            client.close()  # which waits for no call of the parent's
            return found, under_way()

        with elsewhere(call, call, call):
            assert in_child(child) == (["/0", "/1", "/2", "/3"], {})
        assert gate.in_flight == 0


@pytest.mark.parametrize("door", SYNC, ids=lambda door: door.name)
def test_a_host_beyond_the_mesh_is_asked_over_a_connection_of_the_childs_own(door: ClientKind) -> None:
    with served(Echo()) as server, door.make(mesh=mesh_of(1)) as client:
        url = f"http://127.0.0.1:{server.port}"
        assert client.get(f"{url}/parent").text == "/parent"
        assert in_child(lambda: client.get(f"{url}/child").text) == "/child"
        assert client.get(f"{url}/parent").text == "/parent"
        assert connections(server, "/parent") == {0} and connections(server, "/child") == {1}


@pytest.mark.parametrize("door", SYNC, ids=lambda door: door.name)
def test_a_transport_and_mounts_of_the_callers_start_anew_too(door: ClientKind) -> None:
    with served(Echo()) as server, ExitStack() as stack:
        own = {"transport": door.lib.HTTPTransport(verify=False)}
        mounted = {"mounts": {"http://": door.lib.HTTPTransport(verify=False)}}
        for number, how in enumerate((own, mounted)):
            client = stack.enter_context(door.make(mesh=mesh_of(server.port), **how))
            assert client.get(f"http://users/parent{number}").text == f"/parent{number}"
            assert in_child(lambda client=client: client.get("http://users/child").text) == "/child"
            assert client.get(f"http://users/parent{number}").text == f"/parent{number}"
            assert len(connections(server, f"/parent{number}")) == 1


def test_a_connection_under_tls_is_left_open_and_silent() -> None:
    trust, echo = Trust(), Echo()
    context, _ = trust.server("users")
    with served(echo, ssl=context) as server:
        client = SyncMeshClient(mesh=mesh_of(server.port, tls_name="users"), verify=trust.client)
        assert client.get("https://users/parent").text == "/parent"

        def child() -> str:
            answer = client.get("https://users/child").text
            client.close()
            gc.collect()
            return answer

        assert in_child(child) == "/child"
        assert client.get("https://users/parent").text == "/parent"
        assert connections(server, "/parent") == {0} and connections(server, "/child") == {1}
        client.close()


# --- async -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False], ids=["own road", "httpx's"])
@pytest.mark.parametrize("door", ASYNC, ids=lambda door: door.name)
def test_a_child_in_the_middle_of_requests_leaves_its_parent_in_peace(door: ClientKind, fast: bool) -> None:
    """Also when it closes and collects all that it has got: the parent's answers come over the parent's connections."""
    echo, gate = Echo(), Bulkhead(8)
    with served(echo) as server:
        client = door.kind(mesh=mesh_of(server.port, gates=[gate], attempts=1), fast=fast, verify=False)

        async def ask(*paths: str) -> list[str]:
            return [
                answer.text for answer in await asyncio.gather(*[client.get(f"http://users{path}") for path in paths])
            ]

        async def of_the_child() -> tuple[list[str], int]:
            taken = gate.in_flight
            answers = await ask("/a", "/b", "/c")
            await client.aclose()
            return answers, taken

        def child() -> tuple[list[str], int, int]:
            asyncio._set_running_loop(None)
            answers, taken = asyncio.run(of_the_child())
            for task in tasks:
                task.get_coro().close()  # as garbage collection would
            tasks.clear()
            gc.collect()
            return answers, taken, gate.in_flight

        tasks: list[asyncio.Task[Any]] = []

        async def main() -> None:
            assert await ask("/w", "/w", "/w", "/w") == ["/w"] * 4
            tasks.extend(asyncio.ensure_future(client.get("http://users/slow")) for _ in range(4))
            while len([1 for _, line in server.requests if b"/slow" in line]) < 4:
                await asyncio.sleep(0.002)
            before = connections(server, "/slow")
            assert in_child(child) == (["/a", "/b", "/c"], 0, 0)
            echo.go_on.set()
            assert [answer.text for answer in await asyncio.wait_for(asyncio.gather(*tasks), 20)] == ["/slow"] * 4
            assert await ask("/p", "/p", "/p", "/p") == ["/p"] * 4
            assert connections(server, "/p") <= before | connections(server, "/w")
            assert connections(server, "/a") & before == set()
            await client.aclose()
            tasks.clear()

        asyncio.run(main())
        assert echo.broken == []


@pytest.mark.parametrize("door", ASYNC, ids=lambda door: door.name)
def test_connections_at_rest_are_those_of_the_parent(door: ClientKind) -> None:
    echo = Echo()
    with served(echo) as server:
        client = door.make(mesh=mesh_of(server.port))
        loop = asyncio.new_event_loop()

        async def ask(path: str) -> str:
            return str((await client.get(f"http://users{path}")).text)

        async def in_a_stream() -> str:
            """The answer is still to come: it comes to the parent, whatever the child does with its copy."""
            request = client.build_request("GET", "http://users/slow")
            asking = asyncio.ensure_future(client.send(request, stream=True))
            while not connections(server, "/slow"):
                await asyncio.sleep(0.002)

            def child() -> str:
                asyncio._set_running_loop(None)
                asking.get_coro().close()
                return asyncio.run(ask("/child"))

            assert in_child(child) == "/child"
            echo.go_on.set()
            response = await asking
            return str((await response.aread()).decode())

        try:
            assert loop.run_until_complete(ask("/parent")) == "/parent"
            assert in_child(lambda: asyncio.run(ask("/child"))) == "/child"
            assert in_child(lambda: in_child(lambda: asyncio.run(ask("/grandchild")))) == "/grandchild"
            assert loop.run_until_complete(ask("/parent")) == "/parent"
            assert loop.run_until_complete(in_a_stream()) == "/slow"
            loop.run_until_complete(client.aclose())
        finally:
            loop.close()
        assert connections(server, "/parent") == connections(server, "/slow") == {0}


def test_a_connection_under_tls_of_an_async_client_is_left_open_and_silent() -> None:
    trust, echo = Trust(), Echo()
    context, _ = trust.server("users")
    with served(echo, ssl=context) as server:
        client = MeshClient(mesh=mesh_of(server.port, tls_name="users"), verify=trust.client)

        async def ask(path: str) -> str:
            return (await client.get(f"https://users{path}")).text

        async def main() -> None:
            assert await ask("/parent") == "/parent"

            def child() -> str:
                asyncio._set_running_loop(None)
                answer = asyncio.run(ask("/child"))
                gc.collect()
                return answer

            assert in_child(child) == "/child"
            assert await ask("/parent") == "/parent"
            await client.aclose()

        asyncio.run(main())
        assert connections(server, "/parent") == {0} and connections(server, "/child") == {1}


def test_who_waits_for_a_newer_picture_waits_in_the_parent() -> None:
    mesh = Mesh()

    async def main() -> None:
        waiting = asyncio.ensure_future(mesh.newer_than(0))
        await asyncio.sleep(0)
        assert in_child(lambda: (len(mesh._waiting), mesh.publish(lambda old: old).version)) == (0, 1)
        mesh.publish(lambda old: old)
        assert (await waiting).version == 1

    asyncio.run(main())


def test_plain_httpx_beside_a_mesh_client_is_untouched() -> None:
    with served(Echo()) as server, httpx.Client(verify=False) as plain, SyncMeshClient(mesh=mesh_of(1), verify=False):
        assert plain.get(f"http://127.0.0.1:{server.port}/parent").text == "/parent"
        assert in_child(lambda: len(plain._transport._pool.connections)) == 1
