"""A connection that is too old takes no new exchange, and is closed as soon as it is at rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from support.scripted import OK, Peer, answering, get, serving

import meshlib
import meshlib.httpx2
from meshlib import Cluster, Mesh
from meshlib.balancing import make_balancer
from meshlib.config.envoy_export_clusters import HTTP, cluster
from meshlib.config.models import ClusterModel
from meshlib.wire.connection_pool import Pool

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the clock of the event loop forward, by so many seconds."""
    loop, ahead = asyncio.get_running_loop(), [0.0]
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + sum(ahead))
    return ahead.append


async def fetch(pool: Pool, path: bytes = b"/") -> bytes:
    return (await pool.exchange(get(path), method=b"GET", replayable=True)).body


async def eventually(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


async def test_a_connection_is_used_again_until_it_is_too_old(leap: Any) -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, keepalive_expiry=None, max_duration=600.0)
        await fetch(pool)
        leap(500.0)
        await fetch(pool)
        assert pool.opened == 1
        leap(101.0)
        await fetch(pool)
        assert (pool.opened, pool.idle) == (2, 1)
        leap(500.0)
        await fetch(pool)
        assert pool.opened == 2  # the second one's age counts from its own start
        await pool.aclose()


async def test_an_idle_connection_is_closed_when_it_is_too_old(leap: Any) -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, keepalive_expiry=None, max_duration=600.0)
        await fetch(pool)
        leap(601.0)
        await eventually(lambda: pool.idle == 0)
        await eventually(lambda: server.peers[0].reader.at_eof())
        await pool.aclose()


async def test_its_age_does_not_lengthen_the_time_it_may_be_idle(leap: Any) -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, keepalive_expiry=5.0, max_duration=600.0)
        await fetch(pool)
        leap(6.0)
        await eventually(lambda: pool.idle == 0)
        await pool.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_exchange_may_outlast_the_age_of_its_connection(leap: Any, streamed: bool) -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nso")
        await go.wait()
        await peer.send(b"me")
        await peer.reader.read()

    async def body(pool: Pool) -> bytes:
        if not streamed:
            return await fetch(pool)
        return b"".join([piece async for piece in await pool.open(get(), method=b"GET")])

    async with serving(slow) as server:
        pool = Pool("127.0.0.1", server.port, max_duration=600.0)
        task = asyncio.create_task(body(pool))
        await eventually(lambda: pool.opened == 1)
        leap(601.0)
        go.set()
        assert await task == b"some"
        assert (pool.active, pool.idle) == (0, 0)
        await pool.aclose()


async def test_who_waits_for_a_place_gets_a_new_connection_in_that_of_the_old_one(leap: Any) -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.reader.read()

    async with serving(slow, answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1, max_duration=600.0)
        first = asyncio.create_task(fetch(pool))
        await eventually(lambda: pool.opened == 1)
        second = asyncio.create_task(fetch(pool))
        await eventually(lambda: pool.pending == 1)
        leap(601.0)
        go.set()
        assert await asyncio.gather(first, second) == [b"ok", b"ok"]
        assert (pool.opened, pool.active, pool.idle) == (2, 0, 1)
        await pool.aclose()


@pytest.mark.parametrize(
    ("lib", "kind"), [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)], ids=["httpx", "httpx2"]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_mesh_file_says_how_old_a_clusters_connections_may_be(
    tmp_path: Path, leap: Any, lib: Any, kind: Any, streamed: bool
) -> None:
    async def call(client: Any, name: str) -> None:
        if streamed:
            async with client.stream("GET", f"http://{name}/") as response:
                assert await response.aread() == b"ok"
        else:
            assert (await client.get(f"http://{name}/")).text == "ok"

    async with serving(answering()) as users, serving(answering()) as orders:
        (tmp_path / "mesh.yaml").write_text(f"""
services: {{users: {{}}, orders: {{}}}}
clusters:
  users: {{endpoints: ["127.0.0.1:{users.port}"], max_connection_duration: 10m}}
  orders: {{endpoints: ["127.0.0.1:{orders.port}"]}}
""")
        mesh = Mesh.from_file(tmp_path / "mesh.yaml", watch=False)
        async with kind(mesh=mesh, limits=lib.Limits(keepalive_expiry=None)) as client:
            for seconds in (0.0, 500.0, 101.0):
                leap(seconds)
                await call(client, "users")
                await call(client, "orders")
        assert (len(users.peers), len(orders.peers)) == (2, 1)


def test_envoy_is_told_the_greatest_age() -> None:
    model = ClusterModel.model_validate({"max_connection_duration": "10m", "balancer": "round_robin"})
    options = cluster("users", model, (), None, lambda said: None)["typed_extension_protocol_options"][HTTP]
    assert options["common_http_protocol_options"] == {"max_connection_duration": "600.000000s"}
    assert "typed_extension_protocol_options" not in cluster("users", ClusterModel(), (), None, lambda said: None)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan")])
def test_a_senseless_age_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="max_connection_duration"):
        Cluster("users", make_balancer("default", "users"), max_connection_duration=wrong)
    with pytest.raises(ValueError, match="max_duration"):
        Pool("127.0.0.1", 1, max_duration=wrong)
    with pytest.raises(ValueError, match="max_connection_duration"):
        ClusterModel.model_validate({"max_connection_duration": wrong})
