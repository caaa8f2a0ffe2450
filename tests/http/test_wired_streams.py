"""Streams over sockets, on both roads: what is in flight, what counts as latency, and what is asked for again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from support.client_kinds import ClientKind, Server, in_flight, mesh_of
from support.loopback import served
from support.scripted import OK, Peer, answering, once

from meshlib import MeshError, Verdict
from meshlib.events import AttemptFinished, Event

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
SLOWLY = 0.05  # seconds that the body takes


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


class Halting:
    """Sends the head, and the body when it may."""

    def __init__(self) -> None:
        self.go = threading.Event()

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(HEAD)
            while not self.go.is_set():
                await asyncio.sleep(0.001)
            await peer.send(b"body")


async def test_a_stream_is_in_flight_until_it_is_closed_and_its_latency_ends_with_the_headers(
    client_kind: ClientKind,
) -> None:
    halting, events = Halting(), list[Event]()
    with served(halting) as server:
        mesh = mesh_of(server.port)
        mesh.subscribe(events.append)
        async with client_kind.open(mesh) as client:
            async with client.stream("GET", "http://users/") as response:
                assert in_flight(mesh) == 1
                await anyio.sleep(SLOWLY)
                halting.go.set()
                assert await client.read(response) == b"body"
                assert in_flight(mesh) == 0  # read to its end is closed
    [attempt] = [event for event in events if isinstance(event, AttemptFinished)]
    assert response.elapsed.total_seconds() - attempt.took >= SLOWLY


async def test_the_latency_of_a_plain_call_ends_with_its_headers_too(client_kind: ClientKind) -> None:
    if not (client_kind.is_async and client_kind.fast) or asyncio._get_running_loop() is None:
        return  # only there can one see from outside when the headers have come
    halting, events = Halting(), list[Event]()
    with served(halting) as server:
        mesh = mesh_of(server.port)
        async with client_kind.open(mesh) as client:
            halting.go.set()
            assert (await client.get("http://users/")).text == "body"  # opens the client
            halting.go.clear()
            mesh.subscribe(events.append)
            asked = asyncio.create_task(client.get("http://users/"))
            [pool] = client.client.__dict__["_meshlib_door"].lane.here()._pools.values()
            with anyio.fail_after(10):
                while not any(connection.reader.answer for connection in pool._all):
                    await asyncio.sleep(0.001)
            await asyncio.sleep(SLOWLY)
            halting.go.set()
            response = await asked
    [attempt] = [event for event in events if isinstance(event, AttemptFinished)]
    assert response.elapsed.total_seconds() - attempt.took >= SLOWLY


async def test_a_body_that_breaks_is_asked_for_again_only_while_the_caller_has_seen_nothing(
    client_kind: ClientKind,
) -> None:
    half = once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    with served(half, answering()) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            with pytest.raises(client_kind.lib.RemoteProtocolError) as caught:
                async with client.stream("GET", "http://users/") as response:
                    await client.read(response)
            assert len(server.requests) == 1
            error: Any = caught.value
            assert (error.service, error.attempt) == ("users", 1)
            assert (await client.get("http://users/")).text == "ok"
    with served(half, answering()) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            assert (await client.get("http://users/")).text == "ok"
    assert len(server.requests) == 2


async def test_a_streamed_answer_is_asked_for_again_before_it_is_handed_out(client_kind: ClientKind) -> None:
    busy = once(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nhalf")
    with served(busy, answering()) as server:
        mesh = mesh_of(server.port)
        async with client_kind.open(mesh) as client:
            async with client.stream("GET", "http://users/") as response:
                assert (response.status_code, await client.read(response)) == (200, b"ok")
    assert len(server.requests) == 2
    assert in_flight(mesh) == 0


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("own", [False, True])
async def test_closing_the_client_ends_an_open_stream_and_is_no_evidence_about_the_server(
    client_kind: ClientKind, waiting: bool, own: bool
) -> None:
    """Cut while somebody waits for its bytes or before, over the mesh's connections or a transport of the caller."""
    if waiting and not client_kind.is_async:
        return  # a thread that waits for bytes does not notice that its socket was closed
    halting, events, caught = Halting(), list[Event](), list[Any]()
    kind = client_kind.lib.AsyncHTTPTransport if client_kind.is_async else client_kind.lib.HTTPTransport
    with served(halting) as server:
        mesh = mesh_of(server.port)
        mesh.subscribe(events.append)
        async with client_kind.open(mesh, **({"transport": kind()} if own else {})) as client:
            response = await client.send(client.build_request("GET", "http://users/"), stream=True)

            async def read() -> None:
                with pytest.raises(MeshError, match="the client was closed") as error:
                    await client.read(response)
                caught.append(error.value)

            async with anyio.create_task_group() as tasks:
                if waiting:
                    tasks.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                await (client.aclose() if client_kind.is_async else anyio.to_thread.run_sync(client.client.close))
                if not waiting:
                    tasks.start_soon(read)
        halting.go.set()
    [error] = caught
    assert isinstance(error, client_kind.lib.ReadError)  # as in httpx
    assert error.request is response.request
    assert error.service == "users"
    [attempt] = [event for event in events if isinstance(event, AttemptFinished)]
    assert (attempt.verdict, in_flight(mesh)) == (Verdict.IGNORED, 0)


def pieces(client_kind: ClientKind) -> Any:
    async def one_by_one() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return one_by_one() if client_kind.is_async else iter([b"one", b"two"])


async def test_an_upload_that_comes_in_pieces_is_sent_once_and_framed(client_kind: ClientKind) -> None:
    heads: list[bytes] = []

    async def busy(peer: Peer) -> None:
        heads.append(await peer.request())
        assert await peer.reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await peer.reader.read()

    with served(busy, answering(OK)) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            response = await client.put("http://users/", content=pieces(client_kind))
            assert response.status_code == 503  # not a second time: it can be read only once
            assert (await client.put("http://users/", content=b"onetwo")).text == "ok"
    assert b"transfer-encoding: chunked" in heads[0].lower()
    assert len(server.requests) == 2


async def test_the_handed_out_stream_belongs_to_the_callers_own_transport_too(client_kind: ClientKind) -> None:
    server = Server(client_kind, lambda request: client_kind.lib.Response(200, stream=client_kind.body(b"a", b"b")))
    mesh = mesh_of()
    async with client_kind.open(mesh, transport=server.transport) as client:
        async with client.stream("GET", "http://users/") as response:
            assert await client.chunks(response) == [b"a", b"b"]
    assert in_flight(mesh) == 0
