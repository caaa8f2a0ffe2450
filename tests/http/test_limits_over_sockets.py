"""A cluster's limits over real sockets: connections, pending attempts, requests and retries are never exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any

import anyio
import pytest
import sniffio
from support.client_kinds import WIRED, ClientKind, cluster_of
from support.loopback import http2, served
from support.scripted import OK, Peer, Server, answering

from meshlib import BulkheadFull, Mesh

pytestmark = pytest.mark.anyio
UNAVAILABLE = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


class Gauge:
    """Servers that count open connections and requests under way, over all of them."""

    def __init__(self) -> None:
        self.open = self.busy = self.most_busy = 0
        self.arrived = Event()
        self.may_answer = Event()
        self._lock = Lock()

    def count(self, opened: int, busy: int) -> None:
        with self._lock:
            self.open += opened
            self.busy += busy
            self.most_busy = max(self.most_busy, self.busy)

    async def script(self, peer: Peer) -> None:
        """Each request takes 5 ms."""
        self.count(1, 0)
        try:
            while True:
                await peer.request()
                self.count(0, 1)
                await asyncio.sleep(0.005)
                self.count(0, -1)
                await peer.send(OK)
        finally:
            self.count(-1, 0)

    async def held(self, peer: Peer) -> None:
        """A request is answered when the test says so."""
        while True:
            await peer.request()
            self.arrived.set()
            while not self.may_answer.is_set():
                await asyncio.sleep(0.001)
            await peer.send(OK)

    async def until_arrived(self) -> None:
        await anyio.to_thread.run_sync(self.arrived.wait)


@contextmanager
def holding() -> Iterator[tuple[Gauge, Server]]:
    gauge = Gauge()
    with served(gauge.held) as server:
        try:
            yield gauge, server
        finally:
            gauge.may_answer.set()


def limited(folder: Path, limits: str, *servers: Server, retry: str = "off") -> Mesh:
    file = folder / "mesh.yaml"
    ports = ", ".join(f"127.0.0.1:{server.port}" for server in servers)
    file.write_text(
        f"services: {{users: {{retry: {retry}}}}}\n"
        f"clusters: {{users: {{endpoints: [{ports}], balancer: round_robin, limits: {limits}}}}}\n"
    )
    return Mesh.from_file(file, watch=False)


def remaining(mesh: Mesh) -> dict[str, int]:
    limits = cluster_of(mesh).limits
    assert limits is not None
    return dict(limits.remaining())


async def test_a_cluster_has_no_more_connections_than_max_connections(client_kind: ClientKind, tmp_path: Path) -> None:
    gauge = Gauge()
    with served(gauge.script) as one, served(gauge.script) as two:
        mesh = limited(tmp_path, "{max_connections: 3}", one, two)
        keep = client_kind.lib.Limits(keepalive_expiry=None)
        async with client_kind.open(mesh, timeout=60.0, limits=keep) as client:
            answers: list[Any] = []

            async def call() -> None:
                answers.append((await client.get("http://users/")).status_code)

            async with anyio.create_task_group() as tasks:
                for _ in range(24):
                    tasks.start_soon(call)
            if client_kind.fast and client_kind.is_async and sniffio.current_async_library() == "asyncio":
                with anyio.fail_after(30):
                    while gauge.open > 3:  # idle ones made room; a server's thread may be late to notice
                        await anyio.sleep(0.001)
    assert answers == [200] * 24
    assert gauge.most_busy == 3
    assert remaining(mesh) == {"connections": 3}


async def test_of_those_that_find_no_connection_max_pending_wait(client_kind: ClientKind, tmp_path: Path) -> None:
    with holding() as (gauge, server):
        mesh = limited(tmp_path, "{max_connections: 1, max_pending: 1}", server)
        async with client_kind.open(mesh, timeout=60.0) as client:
            answers: list[int] = []

            async def call() -> None:
                answers.append((await client.get("http://users/")).status_code)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await gauge.until_arrived()
                tasks.start_soon(call)
                connections = cluster_of(mesh).limits.connections  # type: ignore[union-attr]
                while not connections.metrics().waiting:  # type: ignore[union-attr]
                    await anyio.sleep(0.001)
                with pytest.raises(
                    BulkheadFull, match=r"^users: all 1 connections of the cluster are in use and 1 wait"
                ) as refused:
                    await client.get("http://users/")
                gauge.may_answer.set()
    assert answers == [200, 200]
    assert isinstance(refused.value, client_kind.lib.PoolTimeout)
    assert cluster_of(mesh).limits.overflows() == {"connections": 1}  # type: ignore[union-attr]


async def test_the_pool_timeout_ends_the_wait_for_a_connection(client_kind: ClientKind, tmp_path: Path) -> None:
    with holding() as (gauge, server):
        mesh = limited(tmp_path, "{max_connections: 1}", server)
        async with client_kind.open(mesh, timeout=60.0) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, "http://users/")
            await gauge.until_arrived()
            with pytest.raises(client_kind.lib.PoolTimeout, match="no connection came free in time"):
                await client.get("http://users/", timeout=client_kind.lib.Timeout(60.0, pool=0.001))
            gauge.may_answer.set()
    assert remaining(mesh) == {"connections": 1}


async def test_requests_beyond_max_requests_are_refused(client_kind: ClientKind, tmp_path: Path) -> None:
    with holding() as (gauge, server):
        mesh = limited(tmp_path, "{max_requests: 1}", server)
        async with client_kind.open(mesh) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, "http://users/")
            await gauge.until_arrived()
            with pytest.raises(BulkheadFull, match=r"^users: all 1 requests of the cluster are under way"):
                await client.get("http://users/")
            gauge.may_answer.set()
    assert remaining(mesh) == {"requests": 1}


async def test_a_retry_beyond_max_retries_is_not_made(client_kind: ClientKind, tmp_path: Path) -> None:
    gauge = Gauge()

    async def first_fails(peer: Peer) -> None:
        head = await peer.request()
        if gauge.busy == 0 or b"/second" in head:
            gauge.count(0, 1)
            await peer.send(UNAVAILABLE)
        await gauge.held(peer)

    with served(first_fails) as server:
        mesh = limited(tmp_path, "{max_retries: 1}", server, retry="{attempts: 3, backoff: 0s}")
        async with client_kind.open(mesh, timeout=60.0) as client:
            answers: list[int] = []

            async def call() -> None:
                answers.append((await client.get("http://users/first")).status_code)

            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call)
                    await gauge.until_arrived()  # its retry is under way
                    assert remaining(mesh) == {"retries": 0}
                    second = await client.get("http://users/second")
                    gauge.may_answer.set()
            finally:
                gauge.may_answer.set()
    assert (answers, second.status_code) == ([200], 503)
    assert remaining(mesh) == {"retries": 1}
    assert cluster_of(mesh).limits.overflows() == {"retries": 1}  # type: ignore[union-attr]


async def test_no_retry_with_max_retries_0(client_kind: ClientKind, tmp_path: Path) -> None:
    with served(answering(UNAVAILABLE)) as server:
        mesh = limited(tmp_path, "{max_retries: 0}", server, retry="{attempts: 3, backoff: 0s}")
        async with client_kind.open(mesh) as client:
            assert (await client.get("http://users/")).status_code == 503
    assert len(server.requests) == 1


async def test_a_stream_keeps_its_connection_until_it_is_closed(client_kind: ClientKind, tmp_path: Path) -> None:
    with served(answering()) as server:
        mesh = limited(tmp_path, "{max_connections: 1, max_requests: 1}", server)
        async with client_kind.open(mesh) as client:
            async with client.stream("GET", "http://users/") as response:
                assert remaining(mesh) == {"connections": 0, "requests": 0}
                await client.read(response)
            assert remaining(mesh) == {"connections": 1, "requests": 1}
            assert (await client.get("http://users/")).text == "ok"


@pytest.mark.parametrize("retry", ["off", "{attempts: 2, backoff: 30s}"])
async def test_a_cancelled_call_gives_all_back(client_kind: ClientKind, tmp_path: Path, retry: str) -> None:
    if not client_kind.is_async:
        pytest.skip("a thread cannot be cancelled")
    with served(answering(UNAVAILABLE) if retry != "off" else Gauge().held) as server:
        limits = "{max_connections: 1, max_requests: 2, max_retries: 1}"
        mesh = limited(tmp_path, limits, server, retry=retry)
        async with client_kind.open(mesh) as client, anyio.create_task_group() as tasks:
            for url in ("http://users/", "http://users/other"):
                tasks.start_soon(client.get, url)
            while remaining(mesh) == {"connections": 1, "requests": 2, "retries": 1}:
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    assert remaining(mesh) == {"connections": 1, "requests": 2, "retries": 1}


@pytest.mark.parametrize("kind", [one for one in WIRED if one.is_async and one.fast], ids=lambda kind: kind.name)
async def test_one_connection_of_http2_carries_more_requests_than_max_connections(
    kind: ClientKind, tmp_path: Path
) -> None:
    with served(http2) as server:
        mesh = limited(tmp_path, "{max_connections: 1}", server)
        async with kind.open(mesh, http1=False, http2=True) as client:
            assert (await client.get("http://users/")).http_version == "HTTP/2"
            assert cluster_of(mesh).limits.overflows() == {"connections": 0}  # type: ignore[union-attr]
