"""A streamed answer is over when its body is closed, and then exactly once."""

from __future__ import annotations

import _thread
import gc
from typing import Any

import anyio
import anyio.to_thread
import pytest
from support.client_kinds import ClientKind, HandClock, Server, cluster_of, in_flight, mesh_of

from meshlib import Bulkhead, BulkheadFull, CircuitBreaker, Consecutive, DeadlineExceeded, State, Verdict
from meshlib.events import AttemptFinished, CallFinished, Event
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.shell.gate import Gate

pytestmark = pytest.mark.anyio


class Book(Gate):
    """A gate that writes down what it hears."""

    def __init__(self) -> None:
        super().__init__("users")
        self.heard: list[Verdict] = []
        self.inside = 0

    def enter(self, now: float) -> int:
        self.inside += 1
        return 0

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        self.inside -= 1
        self.heard.append(verdict)


def answering(client_kind: ClientKind, *pieces: bytes, status: int = 200, error: BaseException | None = None) -> Server:
    return Server(
        client_kind, lambda request: client_kind.lib.Response(status, stream=client_kind.body(*pieces, error=error))
    )


async def test_it_is_in_flight_until_its_body_closes(client_kind: ClientKind) -> None:
    book, bulkhead = Book(), Bulkhead(1, name="users")
    mesh = mesh_of(gates=[book, bulkhead])
    async with client_kind.open(mesh, transport=answering(client_kind, b"a", b"b").transport) as client:
        async with client.stream("GET", "http://users/") as response:
            assert (in_flight(mesh), book.inside, bulkhead.metrics().in_flight) == (1, 1, 1)
            with pytest.raises(BulkheadFull):
                await client.get("http://users/")
            assert await client.chunks(response) == [b"a", b"b"]
            assert (in_flight(mesh), book.inside, bulkhead.metrics().in_flight) == (0, 0, 0)
    # the gate inside the book refused once, which is no evidence
    assert book.heard == [Verdict.IGNORED, Verdict.SUCCESS]


async def test_closing_early_settles_it_once_by_its_status(client_kind: ClientKind) -> None:
    for status, verdict in ((200, Verdict.SUCCESS), (404, Verdict.SUCCESS), (500, Verdict.FATAL)):
        book = Book()
        mesh = mesh_of(gates=[book])
        async with client_kind.open(
            mesh, transport=answering(client_kind, b"a", b"b", status=status).transport
        ) as client:
            async with client.stream("GET", "http://users/") as response:
                pass
            await client.close(response)
            with pytest.raises(client_kind.lib.StreamClosed):
                await client.read(response)
        assert (book.heard, in_flight(mesh)) == ([verdict], 0)


async def test_the_body_is_the_callers_to_read_once(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(), transport=answering(client_kind, b"a").transport) as client:
        async with client.stream("GET", "http://users/") as response:
            with pytest.raises(client_kind.lib.ResponseNotRead):
                response.content
            await client.chunks(response)
            with pytest.raises(client_kind.lib.StreamConsumed):
                await client.chunks(response)


async def test_an_error_in_the_body_is_the_servers_failure(client_kind: ClientKind) -> None:
    breaker = CircuitBreaker(name="users", trip=Consecutive(1), cooldown=60.0)
    book = Book()
    mesh = mesh_of(gates=[breaker, book])
    broken = client_kind.lib.ReadError("reset")
    async with client_kind.open(mesh, transport=answering(client_kind, b"a", error=broken).transport) as client:
        with pytest.raises(client_kind.lib.ReadError) as caught:
            async with client.stream("GET", "http://users/") as response:
                await client.read(response)
    assert caught.value is broken
    assert str(caught.value.request.url) == "http://users/"
    assert (book.heard, in_flight(mesh), breaker.state) == ([Verdict.FAILURE], 0, State.OPEN)


async def test_a_body_that_breaks_was_seen_and_is_not_sent_again(client_kind: ClientKind) -> None:
    server = answering(client_kind, b"a", error=client_kind.lib.ReadError("reset"))
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ReadError):
            async with client.stream("GET", "http://users/") as response:
                await client.read(response)
    assert len(server.seen) == 1


async def test_before_the_caller_has_it_another_attempt_is_made_and_the_first_answer_closed(
    client_kind: ClientKind,
) -> None:
    thrown = client_kind.body(b"sorry")
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(503, stream=thrown),
        lambda request: client_kind.lib.Response(200, stream=client_kind.body(b"here")),
    )
    book = Book()
    mesh = mesh_of(gates=[book])
    async with client_kind.open(mesh, transport=server.transport) as client:
        async with client.stream("GET", "http://users/") as response:
            assert await client.read(response) == b"here"
    assert thrown.closed == 1
    assert book.heard == [Verdict.FAILURE, Verdict.SUCCESS]
    assert in_flight(mesh) == 0


async def test_a_last_failure_is_handed_out_open(client_kind: ClientKind) -> None:
    mesh = mesh_of(attempts=2)
    async with client_kind.open(
        mesh, transport=answering(client_kind, b"down for ", b"tea", status=503).transport
    ) as client:
        async with client.stream("GET", "http://users/") as response:
            assert (response.status_code, await client.read(response)) == (503, b"down for tea")
    assert in_flight(mesh) == 0


async def test_an_answer_that_is_closed_from_the_start_holds_nothing(client_kind: ClientKind) -> None:
    book = Book()
    mesh = mesh_of(gates=[book])
    async with (
        client_kind.open(mesh, transport=Server(client_kind).transport) as client,
        client.stream("GET", "http://users/"),
    ):
        assert (in_flight(mesh), book.heard) == (0, [Verdict.SUCCESS])
    assert book.heard == [Verdict.SUCCESS]


async def _dropped(client: Any, client_kind: ClientKind, drop: Any) -> None:
    """Have `drop` drop the only reference to an open response, in the thread that got it."""
    request = client.build_request("GET", "http://users/")
    if client_kind.is_async:
        drop([await client.client.send(request, stream=True)])
    else:
        await anyio.to_thread.run_sync(lambda: drop([client.client.send(request, stream=True)]))


async def test_a_dropped_response_gives_back_what_it_held_and_says_nothing(client_kind: ClientKind) -> None:
    book = Book()
    mesh = mesh_of(gates=[book])

    def drop(responses: list[Any]) -> None:
        assert in_flight(mesh) == 1
        responses.clear()
        assert (in_flight(mesh), book.heard) == (0, [Verdict.IGNORED])

    async with client_kind.open(mesh, transport=answering(client_kind, b"a").transport) as client:
        await _dropped(client, client_kind, drop)


async def test_a_response_dropped_in_a_cycle_cannot_deadlock_a_policy(client_kind: ClientKind) -> None:
    """The collector may strike while this very thread holds a policy's lock."""
    book = Book()
    mesh = mesh_of(gates=[book])
    scope: dict[str, Any] = {"__name__": "meshlib.policies.pretended", "gc": gc}
    exec("def collect(): gc.collect()", scope)  # as if from inside one of our own files

    def drop(responses: list[Any]) -> None:
        responses[0].stream.cycle = responses[0]
        responses.clear()
        scope["collect"]()

    async with client_kind.open(mesh, transport=answering(client_kind, b"a").transport) as client:
        await _dropped(client, client_kind, drop)
        with anyio.fail_after(5):
            while in_flight(mesh):
                await anyio.sleep(0.001)
    assert book.heard == [Verdict.IGNORED]


async def test_events_of_a_streamed_call_come_when_it_is_over(client_kind: ClientKind) -> None:
    told: list[Event] = []
    mesh = mesh_of("10.0.0.1")
    mesh.subscribe(told.append)
    server = answering(client_kind, b"a", error=client_kind.lib.ReadError("reset"))
    async with client_kind.open(mesh, transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ReadError):
            async with client.stream("GET", "http://users/") as response:
                assert told == []
                await client.read(response)
    attempt, call = told
    assert isinstance(attempt, AttemptFinished)
    assert isinstance(call, CallFinished)
    assert (attempt.address, attempt.attempt, attempt.verdict) == ("10.0.0.1:8001", 1, Verdict.FAILURE)
    assert (call.name, call.verdict, call.attempts) == ("users", Verdict.FAILURE, 1)


async def test_events_of_a_plain_call_count_its_attempts(client_kind: ClientKind) -> None:
    told: list[Event] = []
    mesh = mesh_of()
    mesh.subscribe(told.append)
    async with client_kind.open(mesh, transport=Server(client_kind, 503, 200).transport) as client:
        await client.get("http://users/")
        told = [event for event in told if isinstance(event, AttemptFinished | CallFinished)]
    assert [getattr(event, "attempt", None) for event in told] == [1, 2, None]
    assert isinstance(told[-1], CallFinished)
    assert (told[-1].attempts, told[-1].verdict) == (2, Verdict.SUCCESS)


async def test_a_slow_reader_is_not_a_slow_server(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1")
    [endpoint] = cluster_of(mesh).balancer.endpoints
    async with client_kind.open(mesh, transport=answering(client_kind, b"a").transport) as client:
        async with client.stream("GET", "http://users/") as response:
            before = endpoint.latency
            assert before > 0
            await anyio.sleep(0.05)
            await client.read(response)
    assert endpoint.latency == before


async def test_a_services_timeout_ends_with_the_headers_of_a_stream(client_kind: ClientKind) -> None:
    server = answering(client_kind, b"a")
    async with client_kind.open(mesh_of(timeout=1.0), transport=server.transport, timeout=30.0) as client:
        async with client.stream("GET", "http://users/") as response:
            assert server.timeouts[0]["read"] <= 1.0
            assert server.seen[0].extensions["timeout"] == {"connect": 30.0, "read": 30.0, "write": 30.0, "pool": 30.0}
            await client.read(response)


async def test_the_callers_own_deadline_binds_the_body_too(client_kind: ClientKind) -> None:
    clock = [100.0]
    server = answering(client_kind, b"a", b"b")
    mesh = mesh_of(runtime=HandClock(clock))
    async with client_kind.open(mesh, transport=server.transport, timeout=30.0) as client:
        with deadline(5.0, runtime=HandClock(clock)):
            async with client.stream("GET", "http://users/") as response:
                assert server.seen[0].extensions["timeout"]["read"] == 5.0
                clock[0] += 5.0
                with pytest.raises(DeadlineExceeded) as caught:
                    await client.chunks(response)
    assert isinstance(caught.value, client_kind.lib.ReadTimeout)
    assert str(caught.value.request.url) == "http://users/"
    assert in_flight(mesh) == 0


async def test_a_cancelled_reader_is_nobodys_failure() -> None:
    from support.client_kinds import CLIENT_KINDS

    for client_kind in CLIENT_KINDS:
        if not client_kind.is_async:
            continue
        reading = anyio.Event()

        class Endless(client_kind.lib.AsyncByteStream):  # type: ignore[misc, name-defined]
            def __init__(self, reading: anyio.Event) -> None:
                self.reading = reading

            async def __aiter__(self) -> Any:
                yield b"a"
                self.reading.set()
                await anyio.sleep_forever()

        book = Book()
        mesh = mesh_of(gates=[book])
        server = Server(client_kind, client_kind.lib.Response(200, stream=Endless(reading)))
        async with client_kind.open(mesh, transport=server.transport) as client, anyio.create_task_group() as group:

            async def read(client: Any = client) -> None:
                async with client.stream("GET", "http://users/") as response:
                    async for _ in response.aiter_bytes():
                        pass

            group.start_soon(read)
            await reading.wait()
            group.cancel_scope.cancel()
        assert (book.heard, in_flight(mesh)) == ([Verdict.IGNORED], 0)


async def test_a_response_hook_does_not_take_the_body_out_of_the_services_timeout(client_kind: ClientKind) -> None:
    def told(response: Any) -> None:
        assert not response.is_closed

    async def told_async(response: Any) -> None:
        told(response)

    server = answering(client_kind, b"a", b"b", error=client_kind.lib.ReadError("reset"))
    hooks = {"response": [told_async if client_kind.is_async else told]}
    book = Book()
    async with client_kind.open(
        mesh_of(gates=[book], timeout=1.0), transport=server.transport, timeout=30.0, event_hooks=hooks
    ) as client:
        with pytest.raises(client_kind.lib.ReadError) as caught:
            await client.get("http://users/")
    assert all(limit <= 1.0 for limit in server.seen[0].extensions["timeout"].values())
    assert (book.heard, caught.value.endpoint.partition(".")[0]) == ([Verdict.FAILURE], "10")  # type: ignore[attr-defined]


async def test_a_response_that_the_event_loop_itself_drops_gives_back_what_it_held(client_kind: ClientKind) -> None:
    """No Python frame stands above `__del__` then."""
    mesh = mesh_of()
    async with client_kind.open(mesh, transport=answering(client_kind, b"a").transport) as client:
        kept = [await client.send(client.build_request("GET", "http://users/"), stream=True)]
        assert in_flight(mesh) == 1
        thread = _thread.start_new_thread(kept.clear, ())
        assert thread
        with anyio.fail_after(30):
            while in_flight(mesh):
                await anyio.sleep(0.001)
