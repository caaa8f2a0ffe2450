"""The fast lane under load, cancellation, deadlines and endings: nothing is lost, and whatever fails says how."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import httpx
import httpx2
import pytest
from support.client_kinds import add, in_flight, mesh_of
from support.scripted import OK, Peer, answering, once, serving

import meshlib
import meshlib.httpx2
from meshlib import DeadlineExceeded, Endpoint, Mesh
from meshlib.runtime import SYSTEM

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
FAMILIES = [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)]
EACH = pytest.mark.parametrize(("lib", "kind"), FAMILIES, ids=["httpx", "httpx2"])
URL = "http://users/v1"


async def silent(peer: Peer) -> None:
    await peer.request()
    await asyncio.sleep(60)


async def halfway(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    await asyncio.sleep(60)


def pools(client: Any) -> list[Any]:
    return list(client._meshlib_door.lane.here()._pools.values())


@EACH
@pytest.mark.parametrize("limited", [False, True])
async def test_calls_cancelled_at_random_leave_nothing_behind(lib: Any, kind: Any, limited: bool) -> None:
    dice = random.Random(7)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(dice.random() * 0.004)
            await peer.send(OK)

    limits = {"limits": lib.Limits(max_connections=10)} if limited else {}
    async with serving(script) as server:
        mesh = mesh_of(server.port)
        async with kind(mesh=mesh, **limits) as client:
            for _ in range(20):
                tasks = [asyncio.create_task(client.get(URL)) for _ in range(30)]
                for task in tasks:
                    asyncio.get_running_loop().call_later(dice.random() * 0.01, task.cancel)
                await asyncio.gather(*tasks, return_exceptions=True)
            assert in_flight(mesh) == 0
            answers = await asyncio.gather(*(client.get(URL) for _ in range(30)))
            assert [answer.text for answer in answers] == ["ok"] * 30
            assert sum(pool.active for pool in pools(client)) == 0


@EACH
async def test_a_thousand_tasks_at_once_are_all_answered(lib: Any, kind: Any) -> None:
    async with serving(answering(), backlog=1024) as server:
        mesh = mesh_of(server.port)
        async with kind(mesh=mesh) as client:
            answers = await asyncio.gather(*(client.get(URL) for _ in range(1000)))
    assert {answer.text for answer in answers} == {"ok"}
    assert in_flight(mesh) == 0


@EACH
@pytest.mark.parametrize("script", [silent, halfway])
async def test_a_service_ends_by_its_deadline(lib: Any, kind: Any, script: Any) -> None:
    async with serving(script) as server:
        mesh = mesh_of(server.port, timeout=0.25)
        async with kind(mesh=mesh) as client:
            with pytest.raises(DeadlineExceeded) as caught:
                await client.get(URL)
            assert isinstance(caught.value, lib.ReadTimeout)
            assert caught.value.request.url == URL
            assert in_flight(mesh) == 0
            assert [(pool.active, pool.idle) for pool in pools(client)] == [(0, 0)]


@EACH
async def test_a_limit_per_try_leaves_time_for_another(lib: Any, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, ahead = asyncio.get_running_loop(), [0.0]
    time, now = loop.time, SYSTEM.now
    monkeypatch.setattr(loop, "time", lambda: time() + sum(ahead))
    monkeypatch.setattr(type(SYSTEM), "now", staticmethod(lambda: now() + sum(ahead)))

    async def late(peer: Peer) -> None:
        await peer.request()
        ahead.append(20.1)  # now the first try is over: both clocks say so
        await peer.reader.read()

    async with serving(late, answering()) as server:
        async with kind(mesh=mesh_of(server.port, timeout=60.0, per_try_timeout=20.0), timeout=None) as client:
            assert (await client.get(URL)).text == "ok"
        assert len(server.requests) == 2


@EACH
async def test_a_trickle_does_not_outlast_the_deadline(lib: Any, kind: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.01)

    async with serving(script) as server, kind(mesh=mesh_of(server.port, timeout=0.08, attempts=1)) as client:
        with pytest.raises(DeadlineExceeded):
            await client.get(URL)


@EACH
async def test_a_deadline_around_the_call_binds_it_too(lib: Any, kind: Any) -> None:
    async with serving(silent) as server, kind(mesh=mesh_of(server.port)) as client:
        with meshlib.deadline(0.05), pytest.raises(DeadlineExceeded):
            await client.get(URL)


@EACH
async def test_a_time_out_of_the_callers_own_is_httpx_own(lib: Any, kind: Any) -> None:
    async with serving(silent) as server, kind(mesh=mesh_of(server.port, attempts=1)) as client:
        with pytest.raises(lib.ReadTimeout) as caught:
            await client.get(URL, timeout=lib.Timeout(5.0, read=0.05))
        assert not isinstance(caught.value, DeadlineExceeded)
        assert caught.value.endpoint == f"127.0.0.1:{server.port}"  # type: ignore[attr-defined]


@EACH
@pytest.mark.parametrize(
    ("script", "error"),
    [
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "RemoteProtocolError"),
        (once(b"nonsense\r\n\r\n"), "RemoteProtocolError"),
        (once(b""), "RemoteProtocolError"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), "DecodingError"),
    ],
)
async def test_what_breaks_on_the_wire_has_httpx_own_name(lib: Any, kind: Any, script: Any, error: str) -> None:
    async with serving(script) as server, kind(mesh=mesh_of(server.port, attempts=1)) as client:
        with pytest.raises(getattr(lib, error)) as caught:
            await client.post(URL, json={"a": 1})
        assert caught.value.request.method == "POST"
        assert any("users" in note for note in caught.value.__notes__)


@EACH
async def test_nobody_there_is_a_connect_error_and_is_tried_elsewhere(lib: Any, kind: Any) -> None:
    async with serving(answering()) as server:
        async with kind(mesh=mesh_of("127.0.0.2", server.port, attempts=3)) as client:
            for _ in range(5):
                assert (await client.post(URL, json={})).text == "ok"
        async with kind(mesh=mesh_of("127.0.0.2", attempts=1)) as client:
            with pytest.raises(lib.ConnectError) as caught:
                await client.get(URL)
            assert caught.value.sent is False  # type: ignore[attr-defined]


@EACH
async def test_a_status_that_another_attempt_may_cure_is_cured(lib: Any, kind: Any) -> None:
    ejected = answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    async with serving(ejected, ejected, answering()) as server, kind(mesh=mesh_of(server.port)) as client:
        response = await client.get(URL)
        assert response.text == "ok"
        assert len(server.requests) == 3


@EACH
async def test_a_stream_counts_as_in_flight_until_it_is_closed(lib: Any, kind: Any) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"abc", b"def")) as server:
        mesh = mesh_of(server.port)
        async with kind(mesh=mesh) as client:
            async with client.stream("GET", URL) as response:
                assert in_flight(mesh) == 1
                assert await response.aread() == b"abcdef"
            assert in_flight(mesh) == 0
            async with client.stream("GET", URL) as response:
                pass
            assert in_flight(mesh) == 0
            assert (await client.get(URL)).text == "abcdef"
            assert len(server.peers) == 2  # one stream was left unread


@EACH
async def test_closing_the_client_closes_its_connections(lib: Any, kind: Any) -> None:
    closed: list[int] = []

    async def script(peer: Peer) -> None:
        try:
            await answering()(peer)
        except asyncio.IncompleteReadError:
            closed.append(peer.number)
            raise

    async with serving(script) as server:
        client = kind(mesh=mesh_of(server.port))
        await asyncio.gather(*(client.get(URL) for _ in range(4)))
        await client.aclose()
        while len(closed) < len(server.peers):
            await asyncio.sleep(0.001)


@EACH
async def test_an_endpoint_that_leaves_takes_its_connections_along(lib: Any, kind: Any) -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        try:
            await answering()(peer)
        except asyncio.IncompleteReadError:
            closed.set()
            raise

    async with serving(script) as server:
        mesh = Mesh()
        add(mesh, Endpoint("127.0.0.1", server.port))
        async with kind(mesh=mesh, limits=lib.Limits(keepalive_expiry=None)) as client:
            assert (await client.get(URL)).text == "ok"
            add_other(mesh)
            gc.collect()
            await asyncio.wait_for(closed.wait(), 5)
            assert pools(client) == []


def add_other(mesh: Mesh) -> None:
    """The same service, somewhere else."""
    mesh.publish(lambda now: mesh_of(Endpoint("127.0.0.3", 9)).current)


@EACH
async def test_a_mesh_without_fast_lane_is_asked_for_by_one_argument(lib: Any, kind: Any) -> None:
    client = kind(mesh=mesh_of(1), fast=False)
    assert client.fast is False
    client.fast = True
    assert client.fast is True
    await client.aclose()
