"""HTTP/2 and trio take httpx's own road: one connection per endpoint, its stream limit, and every policy above it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, in_flight, mesh_of
from support.loopback import Trust, served
from support.scripted import Peer

from meshlib import BreakerOpen, Bulkhead, CircuitBreaker, Consecutive, DeadlineExceeded
from meshlib.policies.deadline.deadline import deadline

pytestmark = pytest.mark.anyio
MOST = 5  # streams at a time


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


@pytest.fixture(
    params=[client_kind for client_kind in CLIENT_KINDS if client_kind.is_async],
    ids=lambda client_kind: client_kind.name,
)
def client_kind(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found


class Upstream:
    """Answers what `status` says for each path, None: never; counts the streams that are open at a time."""

    def __init__(self, **status: int | None) -> None:
        self.status = status
        self.seen: Counter[str] = Counter()
        self.open = self.most = 0

    async def __call__(self, peer: Peer) -> None:
        how = h2.config.H2Configuration(client_side=False, header_encoding="ascii")
        connection = h2.connection.H2Connection(how)
        connection.initiate_connection()
        connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MOST})
        peer.writer.write(connection.data_to_send())
        while data := await peer.reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self._begun(connection, event, peer)
                elif isinstance(event, h2.events.StreamReset):
                    self.open -= 1
            peer.writer.write(connection.data_to_send())
            await peer.writer.drain()

    def _begun(self, connection: Any, event: Any, peer: Peer) -> None:
        path = dict(event.headers)[":path"][1:]
        self.seen[path] += 1
        self.open += 1
        self.most = max(self.most, self.open)
        status = self.status.get(path, 200)
        if status is not None:
            asyncio.get_running_loop().call_later(0.002, self._answer, connection, event.stream_id, status, peer)

    def _answer(self, connection: Any, stream: int, status: int, peer: Peer) -> None:
        connection.send_headers(stream, [(":status", str(status))], end_stream=True)
        self.open -= 1
        peer.writer.write(connection.data_to_send())


@pytest.fixture
def context(trust: Trust) -> Iterator[Any]:
    yield trust.server("users", alpn=("h2",))[0]


async def test_an_endpoint_has_one_connection_and_no_more_streams_than_it_allows(
    client_kind: ClientKind, trust: Trust, context: Any
) -> None:
    upstream = Upstream()
    with served(upstream, ssl=context) as server:
        mesh = mesh_of(server.port)
        async with client_kind.open(mesh, verify=trust.client, http2=True, timeout=60.0) as client:
            assert (await client.get("https://users/first")).http_version == "HTTP/2"
            # httpcore 1.0 numbers streams that begin together wrongly at times on trio (StreamIDTooLowError).
            together = 20 if asyncio._get_running_loop() is not None else 1
            for _ in range(20 // together):
                async with anyio.create_task_group() as group:
                    for _ in range(together):
                        group.start_soon(client.get, "https://users/all")
    assert (len(server.peers), upstream.seen["all"]) == (1, 20)
    assert upstream.most <= MOST
    assert in_flight(mesh) == 0


async def test_every_policy_works_above_it(client_kind: ClientKind, trust: Trust, context: Any) -> None:
    healthy, ejected = Upstream(silent=None), Upstream(v1=503, silent=None)
    breaker = CircuitBreaker(name="users", trip=Consecutive(3), cooldown=60.0)
    bulkhead = Bulkhead(3, name="users")
    with served(healthy, ssl=context) as one, served(ejected, ssl=context) as other:
        mesh = mesh_of(one.port, other.port, gates=[breaker, bulkhead], timeout=30.0, per_try_timeout=20.0)
        async with client_kind.open(mesh, verify=trust.client, http2=True, timeout=60.0) as client:
            for _ in range(8):  # a failure is tried again at the other one
                response = await client.get("https://users/v1")
                assert (response.status_code, response.http_version) == (200, "HTTP/2")
            assert ejected.seen["v1"] >= 1
            for _ in range(3):  # a deadline ends what is silent, and the breaker hears of it
                with deadline(0.1), pytest.raises(DeadlineExceeded):
                    await client.get("https://users/silent")
            with pytest.raises(BreakerOpen):
                await client.get("https://users/v1")
            breaker.reset()
            assert (await client.get("https://users/v1")).status_code == 200
    assert (in_flight(mesh), bulkhead.metrics().in_flight) == (0, 0)
