"""In a crowd, requests go out together; nobody notices but the server, which is woken less often."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from support.client_kinds import in_flight, mesh_of
from support.scripted import Peer, Server, answering, serving

from meshlib import MeshClient
from meshlib.wire.h1_connection import ONE_WRITE
from meshlib.wire.write_batch import CROWD, MOST, WriteBatch

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
MANY = 10 * CROWD


class Posted:
    """Stands for connections: writes down what they are told to post."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def post(self, waiter: Any, data: bytes, write: float | None) -> None:
        self.data.append(data)


def held_back(client: MeshClient) -> list[Any]:
    """The connections whose requests wait for the end of this turn."""
    return [letter[0] for letter in client.__dict__["_meshlib_door"].lane.here().outbox._letters]


def asked(server: Server) -> list[bytes]:
    """The paths that were asked for, in alphabetical order."""
    return sorted(line.split()[1] for _, line in server.requests)


async def echo(peer: Peer) -> None:
    """Answer with the path."""
    while True:
        path = (await peer.request()).split()[1]
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


async def warm(client: MeshClient, method: str) -> None:
    """Have a connection at rest for each of the next `MANY` requests."""
    await asyncio.gather(*(client.request(method, "http://users/warm") for _ in range(MANY)))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_everybody_gets_his_own_answer_and_is_asked_for_once(method: str) -> None:
    async with serving(echo) as server, MeshClient(mesh=mesh_of(server.port)) as client:
        await warm(client, method)
        server.requests.clear()
        tasks = [asyncio.create_task(client.request(method, f"http://users/{n:03}")) for n in range(MANY)]
        await asyncio.sleep(0)
        assert held_back(client)
        assert [(await task).text for task in tasks] == [f"/{n:03}" for n in range(MANY)]
        assert asked(server) == [b"/%03d" % n for n in range(MANY)]
        assert len(server.peers) == MANY


async def test_who_goes_away_before_the_turn_ends_has_asked_nothing() -> None:
    async with serving(echo) as server:
        mesh = mesh_of(server.port)
        async with MeshClient(mesh=mesh) as client:
            await warm(client, "GET")
            server.requests.clear()
            tasks = [asyncio.create_task(client.get(f"http://users/{n:03}")) for n in range(CROWD)]
            await asyncio.sleep(0)
            assert len(held_back(client)) == 1
            tasks[-1].cancel()
            await asyncio.wait(tasks)
            assert tasks[-1].cancelled() and all(task.result().status_code == 200 for task in tasks[:-1])
            assert asked(server) == [b"/%03d" % n for n in range(CROWD - 1)]
            assert in_flight(mesh) == 0
            assert (await client.get("http://users/next")).text == "/next"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_closes_meanwhile_is_replaced_whatever_the_method(method: str) -> None:
    async with serving(echo) as server, MeshClient(mesh=mesh_of(server.port)) as client:
        await warm(client, method)
        server.requests.clear()
        tasks = [asyncio.create_task(client.request(method, f"http://users/{n:03}")) for n in range(CROWD + 3)]
        await asyncio.sleep(0)
        ours = {one.transport.get_extra_info("sockname") for one in held_back(client)}
        assert len(ours) == 4
        for peer in server.peers:
            if peer.writer.get_extra_info("peername") in ours:
                peer.writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        assert [(await task).text for task in tasks] == [f"/{n:03}" for n in range(CROWD + 3)]
        assert asked(server) == [b"/%03d" % n for n in range(CROWD + 3)]


async def test_what_came_before_a_request_has_left_is_not_its_answer() -> None:
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with serving(echo) as server, MeshClient(mesh=mesh_of(server.port)) as client:
        await warm(client, "POST")
        server.requests.clear()
        [pool] = client.__dict__["_meshlib_door"].lane.here()._pools.values()
        turn = list(reversed(pool._idle))[CROWD - 1 : CROWD + 3]  # those whose requests will be held back
        theirs = {one.transport.get_extra_info("sockname") for one in turn}
        for peer in server.peers:
            if peer.writer.get_extra_info("peername") in theirs:
                peer.writer.write(late)
        tasks = [asyncio.create_task(client.post(f"http://users/{n:03}")) for n in range(CROWD + 3)]
        assert [(await task).text for task in tasks] == [f"/{n:03}" for n in range(CROWD + 3)]
        assert asked(server) == [b"/%03d" % n for n in range(CROWD + 3)]


async def test_a_long_body_does_not_wait_and_goes_by_no_closed_connection_either() -> None:
    async with serving(echo) as server, MeshClient(mesh=mesh_of(server.port)) as client:
        await warm(client, "POST")
        server.requests.clear()
        for peer in server.peers:
            peer.writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        body = b"x" * (ONE_WRITE + 1)
        tasks = [asyncio.create_task(client.post(f"http://users/{n:03}", content=body)) for n in range(2 * CROWD)]
        await asyncio.sleep(0)
        assert not held_back(client)
        assert [(await task).text for task in tasks] == [f"/{n:03}" for n in range(2 * CROWD)]
        assert asked(server) == [b"/%03d" % n for n in range(2 * CROWD)]


async def test_a_client_that_closes_before_the_turn_ends_leaves_nothing_behind() -> None:
    async with serving(answering()) as server:
        mesh = mesh_of(server.port)
        client = MeshClient(mesh=mesh)
        await warm(client, "GET")
        tasks = [asyncio.create_task(client.get("http://users/")) for _ in range(2 * CROWD)]
        await asyncio.sleep(0)
        outbox = client.__dict__["_meshlib_door"].lane.here().outbox
        assert outbox._letters
        await client.aclose()
        assert [(await task).status_code for task in tasks] == [200] * len(tasks)  # they are drained
        assert in_flight(mesh) == 0 and not outbox._letters


async def test_no_letter_waits_for_more_than_so_many_others() -> None:
    outbox, posted = WriteBatch(asyncio.get_running_loop()), Posted()
    for n in range(MOST + 1):
        assert posted.data == []
        outbox.put(posted, None, b"%d" % n, None)  # type: ignore[arg-type]
        if n == MOST - 1:
            assert posted.data == [b"%d" % m for m in range(MOST)]
            posted.data.clear()
    await asyncio.sleep(0)
    assert posted.data == [b"%d" % MOST]
