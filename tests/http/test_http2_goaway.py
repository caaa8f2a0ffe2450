"""What a server does not process is sent again, what it has taken on finishes, and nothing is processed twice."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, cluster_of, in_flight, mesh_of
from support.h2_server import (
    ENHANCE_YOUR_CALM,
    EVERY_STREAM,
    NO_ERROR,
    PROTOCOL_ERROR,
    Request,
    Session,
    Upstream,
    answering,
    goaway_every,
)
from support.loopback import Trust, served

from meshlib import CircuitBreaker, Consecutive, State, Verdict
from meshlib.events import AttemptFinished
from meshlib.policies.retry.budget import RetryBudget
from meshlib.testing import Recorder

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


class World:
    """One scripted endpoint (or more), a mesh whose breaker opens at one failure, and no retries unless asked for."""

    def __init__(self, kind: ClientKind, trust: Trust, *, tls: bool = True) -> None:
        self.kind = kind
        self.url = "https://users/" if tls else "http://users/"
        self._how: dict[str, Any] = {"verify": trust.client, "http2": True, "timeout": 30.0}
        if not tls:
            self._how["http1"] = False  # prior knowledge
        self._server = {"ssl": trust.server("users", alpn=("h2",))[0]} if tls else {}
        self.breaker = CircuitBreaker(name="users", trip=Consecutive(1), cooldown=60.0)

    def serve(self, upstream: Upstream) -> Any:
        return served(upstream, **self._server)

    def open(self, *ports: int, **policies: Any) -> Any:
        policies.setdefault("attempts", 1)
        self.mesh = mesh_of(*ports, gates=[self.breaker], **policies)
        self.attempts = Recorder(self.mesh)
        return self.kind.open(self.mesh, **self._how)

    def verdicts(self) -> list[Verdict]:
        return [event.verdict for event in self.attempts.of(AttemptFinished)]

    def unharmed(self) -> bool:
        """Whether no failure was recorded, and no request is still in flight."""
        failed = any(endpoint.run for endpoint in cluster_of(self.mesh).balancer.endpoints)
        return self.breaker.state is State.CLOSED and not failed and in_flight(self.mesh) == 0


@pytest.fixture(params=CLIENT_KINDS, ids=lambda kind: kind.name)
def world(request: pytest.FixtureRequest, trust: Trust) -> World:
    return World(request.param, trust)


@pytest.fixture(params=[True, False], ids=["tls", "cleartext"])
def either(request: pytest.FixtureRequest, world: World, trust: Trust) -> World:
    return World(world.kind, trust, tls=request.param)


async def post_all(client: Any, world: World, names: range, at_a_time: int) -> list[int]:
    """The statuses of POST requests to each of `names`, sent by `at_a_time` workers."""
    statuses: list[int] = []
    left = iter(names)

    async def work() -> None:
        for name in left:
            response = await client.post(f"{world.url}{name}", content=b"body")
            assert response.http_version == "HTTP/2"
            statuses.append(response.status_code)

    async with anyio.create_task_group() as group:
        for _ in range(at_a_time):
            group.start_soon(work)
    return statuses


# A graceful GOAWAY.


@pytest.mark.parametrize(("every", "at_a_time"), [(4, 12), (20, 32), (1, 12)])
async def test_a_server_that_ends_each_connection_after_some_requests_fails_none(
    either: World, every: int, at_a_time: int
) -> None:
    upstream = Upstream(goaway_every(every))
    with either.serve(upstream) as server:
        async with either.open(server.port, attempts=3, budget=RetryBudget(0.0, min_per_second=0.0)) as client:
            total = 40 if every > 1 else 12
            assert await post_all(client, either, range(total), at_a_time) == [200] * total
            assert either.verdicts() == [Verdict.SUCCESS] * total
    assert sorted(upstream.processed.values()) == [1] * total
    assert len(server.peers) >= total // every
    assert either.unharmed()


async def test_what_the_server_has_taken_on_finishes_while_the_rest_goes_over_another_connection(either: World) -> None:
    async def leaving(session: Session) -> None:
        requests = [await session.next() for _ in range(12)]
        taken = sorted(requests, key=lambda request: request.stream)[:4]
        for request in taken:
            session.process(request)
        session.goaway(taken[-1].stream)
        await upstream.until(12)
        for request in taken:
            session.answer(request, process=False)

    upstream = Upstream(leaving, answering)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            assert await post_all(client, either, range(12), 12) == [200] * 12
    assert sorted(upstream.processed.values()) == [1] * 12
    assert len(server.peers) == 2
    assert either.unharmed()


async def test_a_warning_before_the_goaway_ends_nothing(world: World) -> None:
    async def leaving(session: Session) -> None:
        first = await session.next()
        session.goaway(EVERY_STREAM)
        session.answer(first)
        session.goaway(first.stream)

    upstream = Upstream(leaving, answering)
    with world.serve(upstream) as server:
        async with world.open(server.port) as client:
            assert await post_all(client, world, range(3), 1) == [200] * 3
    assert len(server.peers) == 2
    assert world.unharmed()


@pytest.mark.parametrize("goaway", [True, False], ids=["goaway", "no-goaway"])
async def test_a_connection_that_was_closed_while_it_was_idle_fails_no_request(either: World, goaway: bool) -> None:
    closed = threading.Event()

    async def once(session: Session) -> None:
        request = await session.next()
        session.answer(request)
        if goaway:
            session.goaway(request.stream)
        session.close()
        closed.set()

    upstream = Upstream(once, answering)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            assert (await client.post(f"{either.url}1", content=b"body")).status_code == 200
            await anyio.to_thread.run_sync(closed.wait)
            assert (await client.post(f"{either.url}2", content=pieces(either.kind, b"bo", b"dy"))).status_code == 200
    assert upstream.processed == {"1": 1, "2": 1}
    assert either.unharmed()


async def test_a_goaway_that_came_with_an_answer_is_heeded_before_the_next_request(either: World) -> None:
    async def once(session: Session) -> None:
        request = await session.next()
        with session.together():
            session.answer(request)
            session.goaway(request.stream)

    upstream = Upstream(once, answering)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            assert (await client.post(f"{either.url}1", content=b"body")).status_code == 200
            assert (await client.post(f"{either.url}2", content=pieces(either.kind, b"bo", b"dy"))).status_code == 200
    assert upstream.processed == {"1": 1, "2": 1}
    assert [len(session.begun) for session in upstream.sessions] == [1, 1]
    assert either.unharmed()


async def test_a_request_whose_answer_is_lost_with_an_announced_end_is_evidence_of_nothing(world: World) -> None:
    async def leaving(session: Session) -> None:
        request = await session.next()
        session.process(request)
        session.goaway(request.stream)
        session.close()

    upstream = Upstream(leaving, leaving, answering)
    with world.serve(upstream) as server:
        async with world.open(server.port, attempts=2) as client:
            with pytest.raises(world.kind.lib.RemoteProtocolError, match="GOAWAY"):
                await client.post(f"{world.url}post", content=b"body")
            assert (await client.get(f"{world.url}get")).status_code == 200
            assert world.verdicts() == [Verdict.IGNORED, Verdict.IGNORED, Verdict.SUCCESS]
    assert upstream.processed == {"post": 1, "get": 2}  # a GET may be repeated, as ever
    assert world.unharmed()


# Other refusals.


async def test_a_refused_stream_is_sent_again_over_a_new_connection(either: World) -> None:
    async def refusing(session: Session) -> None:
        async for request in session:
            session.reset(request)

    upstream = Upstream(refusing, answering)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            assert await post_all(client, either, range(12), 12) == [200] * 12
            assert either.verdicts() == [Verdict.SUCCESS] * 12
    assert sorted(upstream.processed.values()) == [1] * 12
    assert either.unharmed()


def _reset(session: Session, request: Request) -> None:
    session.reset(request)


def _goaway(session: Session, request: Request) -> None:
    session.goaway(0)
    session.close()


def _goaway_only(session: Session, request: Request) -> None:
    session.goaway(0)


@pytest.mark.parametrize("refuse", [_reset, _goaway, _goaway_only])
async def test_a_server_that_refuses_everything_is_one_that_cannot_be_reached(world: World, refuse: Any) -> None:
    async def refusing(session: Session) -> None:
        async for request in session:
            refuse(session, request)

    upstream, well = Upstream(refusing), Upstream(answering)
    with world.serve(upstream) as server, world.serve(well) as other:
        async with world.open(server.port) as client:
            with pytest.raises(world.kind.lib.ConnectError, match="refused the request 4 times") as caught:
                await client.post(f"{world.url}post", content=b"body")
            assert caught.value.sent is False
        assert len(server.peers) == 4
        assert not upstream.processed
        async with world.open(server.port, other.port, attempts=2) as client:
            assert await post_all(client, world, range(6), 1) == [200] * 6
    assert sorted(well.processed.values()) == [1] * 6


@pytest.mark.parametrize("code", [ENHANCE_YOUR_CALM, PROTOCOL_ERROR])
async def test_a_goaway_for_an_error_fails_what_may_have_been_processed_and_no_more(world: World, code: int) -> None:
    async def angry(session: Session) -> None:
        requests = sorted([await session.next() for _ in range(3)], key=lambda request: request.stream)
        session.process(requests[0])
        session.goaway(requests[0].stream, code)

    upstream = Upstream(angry, answering)
    failed: list[Any] = []
    with world.serve(upstream) as server:
        async with world.open(server.port) as client:

            async def one(name: int) -> None:
                try:
                    await client.post(f"{world.url}{name}", content=b"body")
                except world.kind.lib.RemoteProtocolError as error:
                    failed.append(error)

            async with anyio.create_task_group() as group:
                for name in range(3):
                    group.start_soon(one, name)
    assert len(failed) == 1
    assert "GOAWAY" in str(failed[0])
    assert sorted(upstream.processed.values()) == [1, 1, 1]
    assert world.breaker.state is State.OPEN  # a failure, as ever


# Bodies that can be read only once.


def pieces(kind: ClientKind, *body: bytes) -> Any:
    """A body that cannot be read twice."""
    if not kind.is_async:
        return iter(body)

    async def stream() -> AsyncIterator[bytes]:
        for piece in body:
            yield piece

    return stream()


async def test_a_body_that_was_read_is_not_sent_again_and_no_failure_is_recorded(world: World) -> None:
    async def leaving(session: Session) -> None:
        requests = sorted([await session.next() for _ in range(6)], key=lambda request: request.stream)
        session.goaway(requests[0].stream)
        session.answer(requests[0])

    upstream = Upstream(leaving, answering)
    failed: list[Any] = []
    with world.serve(upstream) as server:
        async with world.open(server.port, attempts=3) as client:

            async def one(name: int) -> None:
                try:
                    await client.put(f"{world.url}{name}", content=pieces(world.kind, b"a", b"b"))
                except world.kind.lib.RemoteProtocolError as error:
                    failed.append(error)

            async with anyio.create_task_group() as group:
                for name in range(6):
                    group.start_soon(one, name)
    assert len(failed) == 5
    assert all(error.sent is False and "did not process" in str(error) for error in failed)
    assert list(upstream.processed.values()) == [1]
    assert world.unharmed()


# Streamed answers.


async def test_a_streamed_answer_outlives_a_goaway(either: World) -> None:
    async def leaving(session: Session) -> None:
        request = await session.next()
        session.begin(request)
        session.data(request, b"one")
        session.goaway(request.stream)
        await upstream.until(1)  # of another connection
        session.process(request)
        session.data(request, b"two", end=True)

    upstream = Upstream(leaving, answering)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            async with client.stream("POST", f"{either.url}stream", content=b"body") as response:
                assert (await client.post(f"{either.url}post", content=b"body")).status_code == 200
                assert b"".join(await client.chunks(response)) == b"onetwo"
    assert len(server.peers) == 2
    assert either.unharmed()


async def test_a_stream_that_breaks_off_with_an_announced_end_is_evidence_of_nothing(world: World) -> None:
    async def leaving(session: Session) -> None:
        request = await session.next()
        session.begin(request)
        session.data(request, b"one")
        session.goaway(request.stream)
        session.close()

    upstream = Upstream(leaving)
    with world.serve(upstream) as server:
        async with world.open(server.port, attempts=3) as client:
            async with client.stream("GET", f"{world.url}stream") as response:
                with pytest.raises(world.kind.lib.RemoteProtocolError, match="GOAWAY"):
                    await client.chunks(response)
    assert world.verdicts() == [Verdict.IGNORED]
    assert len(server.peers) == 1
    assert world.unharmed()


async def test_a_stream_that_is_refused_once_it_has_begun_is_a_failure(world: World) -> None:
    async def refusing(session: Session) -> None:
        request = await session.next()
        session.begin(request)
        session.reset(request)

    upstream = Upstream(refusing)
    with world.serve(upstream) as server:
        async with world.open(server.port) as client:
            with pytest.raises(world.kind.lib.RemoteProtocolError):
                await client.post(f"{world.url}post", content=b"body")
    assert len(server.peers) == 1
    assert world.breaker.state is State.OPEN


# A transport of the caller's: httpx's own connections, of which less is known.


@pytest.fixture
def brought(world: World) -> World:
    lib, how = world.kind.lib, world._how
    kind = lib.AsyncHTTPTransport if world.kind.is_async else lib.HTTPTransport
    how["transport"] = kind(verify=how["verify"], http2=True)
    return world


async def test_over_a_callers_transport_too_a_refused_stream_is_sent_again(brought: World) -> None:
    async def refusing(session: Session) -> None:
        session.reset(await session.next())
        async for request in session:
            session.answer(request)

    upstream = Upstream(refusing)
    with brought.serve(upstream) as server:
        async with brought.open(server.port) as client:
            assert (await client.post(f"{brought.url}post", content=b"body")).status_code == 200
    assert upstream.processed == {"post": 1}
    assert brought.unharmed()


async def test_over_a_callers_transport_too_a_graceful_goaway_is_no_failure(brought: World) -> None:
    async def leaving(session: Session) -> None:
        request = await session.next()
        session.process(request)
        session.goaway(request.stream)

    upstream = Upstream(leaving, leaving, answering)
    with brought.serve(upstream) as server:
        async with brought.open(server.port, attempts=2) as client:
            with pytest.raises(brought.kind.lib.RemoteProtocolError):
                await client.post(f"{brought.url}post", content=b"body")
            assert (await client.get(f"{brought.url}get")).status_code == 200
    assert upstream.processed == {"post": 1, "get": 2}
    assert brought.unharmed()


# An answer that comes before the end of the request.


async def test_a_request_that_is_answered_before_its_body_has_ended_has_its_answer(either: World) -> None:
    answered = threading.Event()

    async def impatient(session: Session) -> None:
        request = await session.next_headers()
        session.answer(request)
        session.reset(request, NO_ERROR)  # that is enough of the body
        answered.set()
        session.answer(await session.next_headers())

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.to_thread.run_sync(answered.wait)
        yield b"x" * 200_000  # more than the server has room for

    def body_of_a_thread() -> Iterator[bytes]:
        yield b"first"
        answered.wait()
        yield b"x" * 200_000

    upstream = Upstream(impatient)
    with either.serve(upstream) as server:
        async with either.open(server.port) as client:
            content = body() if either.kind.is_async else body_of_a_thread()
            assert (await client.post(f"{either.url}early", content=content)).status_code == 200
            assert (await client.get(f"{either.url}next")).status_code == 200
    assert upstream.processed == {"early": 1, "next": 1}
    assert len(server.peers) == 1
    assert either.unharmed()
