"""Two attempts of one exchange beside each other: each has an endpoint, a clock and a release of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, HandClock, Server, in_flight, mesh_of
from support.loopback import served
from support.scripted import OK, Peer

from meshlib import Bulkhead, CircuitBreaker, Mesh, Verdict
from meshlib.events import AttemptFinished, Event
from meshlib.routing.actions import HeaderEdit
from meshlib.routing.split import Destination, Split
from meshlib.routing.table import RouteTable
from meshlib.routing.table import ServiceRoutes as Routed

pytestmark = pytest.mark.anyio
AT_ONCE = {"delay": 0.0}  # both attempts go out in one go; nothing here waits for a clock
RawResponse = Callable[[Any], Awaitable[Any]]


@pytest.fixture(
    params=[client_kind for client_kind in CLIENT_KINDS if client_kind.is_async],
    ids=lambda client_kind: client_kind.name,
)
def client_kind(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found


class Fleet:
    """A transport whose answers come from the test, one coroutine function per attempt, in their order."""

    def __init__(self, client_kind: ClientKind, *answers: RawResponse) -> None:
        self.seen: list[str] = []
        self._answers = answers
        self.transport = client_kind.lib.MockTransport(self)

    async def __call__(self, request: Any) -> Any:
        self.seen.append(request.url.host)
        return await self._answers[len(self.seen) - 1](request)


def ok(client_kind: ClientKind) -> RawResponse:
    async def answer(request: Any) -> Any:
        return client_kind.lib.Response(200, stream=client_kind.body(request.url.host.encode()))

    return answer


async def silent(request: Any) -> Any:
    await anyio.sleep_forever()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_loser_gives_back_what_it_held_and_says_nothing(client_kind: ClientKind, stream: bool) -> None:
    breaker, bulkhead, events = CircuitBreaker(name="users"), Bulkhead(2, name="users"), list[Event]()
    mesh = mesh_of(gates=[breaker, bulkhead], hedge=AT_ONCE)
    fleet = Fleet(client_kind, silent, ok(client_kind))
    async with client_kind.open(mesh, transport=fleet.transport) as client:
        mesh.subscribe(events.append)
        response = await client.send(client.build_request("GET", "http://users/"), stream=stream)
        assert (in_flight(mesh), bulkhead.metrics().in_flight) == ((1, 1) if stream else (0, 0))
        assert await client.read(response) == fleet.seen[1].encode()
        await client.close(response)
    assert len(set(fleet.seen)) == 2  # the second one avoids where the first one is
    assert (in_flight(mesh), bulkhead.metrics().in_flight) == (0, 0)
    ends = {event.address.partition(":")[0]: event for event in events if isinstance(event, AttemptFinished)}
    assert [ends[host].verdict for host in fleet.seen] == [Verdict.IGNORED, Verdict.SUCCESS]
    assert [ends[host].attempt for host in fleet.seen] == [1, 2]


async def test_an_attempt_is_measured_to_its_own_headers(client_kind: ClientKind) -> None:
    clock, body_may_come, second_is_out = [100.0], anyio.Event(), anyio.Event()

    class Slowly(client_kind.lib.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            second_may_go.set()
            await body_may_come.wait()
            yield b"first"

    second_may_go = anyio.Event()

    async def first(request: Any) -> Any:
        clock[0] += 1.0
        return client_kind.lib.Response(200, stream=Slowly())

    async def second(request: Any) -> Any:
        second_is_out.set()
        await anyio.sleep_forever()

    events: list[Event] = []
    mesh = mesh_of(hedge=AT_ONCE, runtime=HandClock(clock))
    mesh.subscribe(events.append)
    fleet = Fleet(client_kind, first, second)
    async with client_kind.open(mesh, transport=fleet.transport) as client, anyio.create_task_group() as group:

        async def later() -> None:
            await second_is_out.wait()
            clock[0] += 50.0
            body_may_come.set()

        group.start_soon(later)
        assert (await client.get("http://users/")).text == "first"
    took = {event.address.partition(":")[0]: event.took for event in events if isinstance(event, AttemptFinished)}
    assert took[fleet.seen[0]] == 1.0


async def test_a_limit_of_connections_comes_free_whoever_wins(client_kind: ClientKind) -> None:
    async def dead(peer: Peer) -> None:
        await peer.request()
        arrived.release()
        gone.append(await peer.reader.read())

    async def quick(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.to_thread(arrived.acquire, timeout=30)  # the loser is on its way, then
            await peer.send(OK)

    gone: list[bytes] = []
    arrived = threading.Semaphore(0)
    with served(dead) as one, served(quick) as two:
        mesh = mesh_of(one.port, two.port, hedge=AT_ONCE)
        async with client_kind.open(mesh, limits=client_kind.lib.Limits(max_connections=2), timeout=60.0) as client:
            for _ in range(6):
                async with client.stream("GET", "http://users/") as response:
                    assert await client.read(response) == b"ok"
            limit = client.client.__dict__["_meshlib_door"].limit
            assert limit._slots.metrics().in_flight == 0
            with anyio.fail_after(30):
                while len(gone) < 6:
                    await anyio.sleep(0.001)
    assert gone == [b""] * 6  # each loser's connection was closed
    assert in_flight(mesh) == 0


async def test_what_may_not_reach_two_servers_is_not_hedged(client_kind: ClientKind) -> None:
    for method, headers, sent in (("POST", {}, 1), ("PATCH", {}, 1), ("POST", {"idempotency-key": "1"}, 2)):
        both = anyio.Event()
        seen: list[str] = []

        async def answer(request: Any, seen: list[str] = seen, both: anyio.Event = both, sent: int = sent) -> Any:
            seen.append(request.url.host)
            if len(seen) == sent:
                both.set()
            for _ in range(5):  # time enough for a second attempt to begin
                await anyio.lowlevel.checkpoint()
            await both.wait()
            return client_kind.lib.Response(200)

        mesh = mesh_of(hedge=AT_ONCE)
        async with client_kind.open(mesh, transport=client_kind.lib.MockTransport(answer)) as client:
            await client.request(method, "http://users/", content=b"x", headers=headers)
        assert len(seen) == sent


async def test_the_error_names_the_attempt_that_it_came_from(client_kind: ClientKind) -> None:
    second_failed = anyio.Event()

    async def first(request: Any) -> Any:
        await second_failed.wait()
        raise client_kind.lib.ReadError("first")

    async def second(request: Any) -> Any:
        second_failed.set()
        raise client_kind.lib.ReadError("second")

    fleet = Fleet(client_kind, first, second)
    async with client_kind.open(mesh_of(hedge=AT_ONCE, attempts=1), transport=fleet.transport) as client:
        with pytest.raises(client_kind.lib.ReadError, match="first") as caught:
            await client.get("http://users/")
    error: Any = caught.value
    assert (error.endpoint.partition(":")[0], error.attempt) == (fleet.seen[0], 1)


@pytest.mark.parametrize("sync", [one for one in CLIENT_KINDS if not one.is_async], ids=lambda one: one.name)
async def test_a_sync_client_of_a_hedged_service_sends_once(sync: ClientKind) -> None:
    server = Server(sync)
    async with sync.open(mesh_of(hedge=AT_ONCE), transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 200
    assert len(server.seen) == 1


async def test_a_first_answer_that_was_not_good_enough_is_closed(client_kind: ClientKind) -> None:
    """Whether a better one came, or the caller went away while waiting for it."""
    for answered in (True, False):
        busy, second_may_go, out = client_kind.body(b"busy"), anyio.Event(), anyio.Event()

        async def first(request: Any, busy: Any = busy, out: anyio.Event = out) -> Any:
            await out.wait()
            return client_kind.lib.Response(503, stream=busy)

        async def second(request: Any, go: anyio.Event = second_may_go, out: anyio.Event = out) -> Any:
            out.set()
            await go.wait()
            return client_kind.lib.Response(200, stream=client_kind.body(b"good"))

        bulkhead = Bulkhead(2, name="users")
        mesh = mesh_of(gates=[bulkhead], hedge=AT_ONCE, attempts=1)
        async with client_kind.open(mesh, transport=Fleet(client_kind, first, second).transport) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def later(
                        scope: anyio.CancelScope = scope,
                        go: anyio.Event = second_may_go,
                        answered: bool = answered,
                        mesh: Mesh = mesh,
                    ) -> None:
                        while in_flight(mesh) < 2:
                            await anyio.lowlevel.checkpoint()
                        for _ in range(10):
                            await anyio.lowlevel.checkpoint()
                        go.set() if answered else scope.cancel()

                    group.start_soon(later)
                    async with client.stream("GET", "http://users/") as response:
                        assert await client.read(response) == b"good"
        assert busy.closed == 1
        assert (in_flight(mesh), bulkhead.metrics().in_flight) == (0, 0)


async def test_the_answers_headers_are_edited_as_the_winners_rule_says(client_kind: ClientKind) -> None:
    """Between two attempts the routes change: each is edited as the decision for it says."""

    def arm(name: str) -> RouteTable:
        edit = HeaderEdit(set={"x-arm": name})
        return RouteTable([Routed("users", default=Split([Destination("users", response_headers=edit)]))])

    second_is_out, first_answered = anyio.Event(), anyio.Event()

    async def first(request: Any) -> Any:
        mesh.publish(lambda now: replace(now, routes=arm("second")))
        await second_is_out.wait()
        first_answered.set()
        return client_kind.lib.Response(503, text="first")

    async def second(request: Any) -> Any:
        second_is_out.set()
        await first_answered.wait()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        return client_kind.lib.Response(503, text="second")

    mesh = mesh_of(hedge={"delay": 0.001}, attempts=1)
    mesh.publish(lambda now: replace(now, routes=arm("first")))
    async with client_kind.open(mesh, transport=Fleet(client_kind, first, second).transport) as client:
        response = await client.get("http://users/")
    assert (response.text, response.headers["x-arm"]) == ("first", "first")
    assert not [name for name in response.__dict__ if name.startswith("_meshlib")]
