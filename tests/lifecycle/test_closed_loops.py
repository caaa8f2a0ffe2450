"""A loop that is closed under calls, or a call that is dropped: what it held comes back, and nothing is said of it."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.census import none_under_way
from support.client_kinds import CLIENT_KINDS, ClientKind, mesh_of
from support.loopback import served
from support.scripted import Peer, answering

import meshlib
from meshlib import AdaptiveLimit, Bulkhead, CircuitBreaker, Hedge, Mesh, Retry, SingleFlight, Timeout, Verdict
from meshlib.loop_state import loop_state
from meshlib.policies.shell.gate import Gate
from meshlib.runtime import SYSTEM, timers_of

ASYNC = [door for door in CLIENT_KINDS if door.is_async]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop") is not None:
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

# asyncio says itself that a loop was closed too early: of its transports, and of tasks that were never to end.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*unclosed.*")


@pytest.fixture(autouse=True)
def census() -> Iterator[None]:
    with none_under_way():
        yield
        gc.collect()


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[list[object]]:
    """No call complains on its way out: what a finalizer raises is heard by this hook alone."""
    import sys

    heard: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda what: heard.append(what.exc_value)
    yield heard
    gc.collect()
    sys.unraisablehook = before
    assert heard == []


async def silent(peer: Peer) -> None:
    """Takes requests, and answers only those for /now."""
    while True:
        if b"/now" in await peer.request():
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def closed_under(
    new_loop: Callable[[], asyncio.AbstractEventLoop], *calls: Callable[[], Coroutine[Any, Any, Any]], turns: int = 30
) -> list[weakref.ref[Any]]:
    """Begin the calls in a loop, and close it while they are under way."""
    loop, tasks = new_loop(), list[weakref.ref[Any]]()

    async def begin() -> None:
        tasks.extend(weakref.ref(asyncio.ensure_future(call())) for call in calls)
        for _ in range(turns):
            await asyncio.sleep(0.001)

    loop.run_until_complete(begin())
    loop.close()
    return tasks


def collected(tasks: list[weakref.ref[Any]]) -> bool:
    gc.collect()
    gc.collect()
    return all(task() is None for task in tasks)


# --- clients -------------------------------------------------------------------------------------------------------


HOW: dict[str, dict[str, Any]] = {
    "plain": {},
    "with retries": {"attempts": 3},
    "with a deadline": {"timeout": 30.0},
    "hedged": {"hedge": {"delay": 0.001}},
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("fast", [True, False], ids=["own road", "httpx's"])
def test_a_loop_that_was_closed_under_requests_gives_back_their_places(
    fast: bool, how: str, stream: bool, warm: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    gates: list[Gate] = [Bulkhead(10), CircuitBreaker(), AdaptiveLimit(max_wait=None)]
    with served(silent) as server:
        mesh = mesh_of(server.port, gates=gates, **HOW[how])
        client = meshlib.MeshClient(mesh=mesh, fast=fast)
        endpoint = mesh.current.clusters["users"].balancer.endpoints[0]

        async def ask(path: str = "/slow") -> str:
            request = client.build_request("GET", f"http://users{path}")
            response = await client.send(request, stream=stream)
            return str((await response.aread()).decode())

        async def warm_then_ask() -> str:
            return await ask("/now") + await ask()

        def closed() -> list[weakref.ref[Any]]:
            return closed_under(new_loop, *[warm_then_ask if warm else ask] * 5)

        tasks = closed()
        assert endpoint.pending >= 5 and gates[0].in_flight >= 5  # type: ignore[attr-defined]
        loop = new_loop()
        assert loop.run_until_complete(ask("/now")) == "ok"  # another loop comes
        loop.run_until_complete(client.aclose())
        loop.close()
        if fast:
            assert collected(tasks)
        assert endpoint.pending == 0 and [gate.metrics().in_flight for gate in (gates[0], gates[2])] == [0, 0]  # type: ignore[attr-defined]
        assert endpoint.healthy and endpoint._bad == 0.0 and gates[1].state == "closed"  # type: ignore[attr-defined]


@pytest.mark.parametrize("door", ASYNC, ids=lambda door: door.name)
def test_places_come_back_also_if_the_client_is_never_used_again(
    door: ClientKind, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    gate = Bulkhead(4)
    with served(silent) as server:
        client = door.make(mesh=mesh_of(server.port, gates=[gate], timeout=30.0))
        tasks = closed_under(new_loop, *[lambda: client.get("http://users/slow")] * 4)
        assert gate.in_flight == 4
        assert collected(tasks) and gate.in_flight == 0
        assert client.__dict__["_meshlib_door"].busy == set()


def test_places_come_back_also_if_somebody_remembers_the_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    gate = Bulkhead(4)
    with served(silent) as server:
        client = meshlib.MeshClient(mesh=mesh_of(server.port, gates=[gate], timeout=30.0))
        remembered: list[Any] = []

        def keeping() -> asyncio.AbstractEventLoop:
            remembered.append(new_loop())
            return remembered[0]

        tasks = closed_under(keeping, *[lambda: client.get("http://users/slow")] * 4)
        assert gate.in_flight == 4
        other = new_loop()
        assert other.run_until_complete(client.get("http://users/now")).text == "ok"
        assert gate.in_flight == 0 and collected(tasks)
        other.run_until_complete(client.aclose())
        other.close()


def test_requests_that_never_left_give_back_their_places(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A crowd, of which the loop is closed in the very turn in which it would send: and one that waits for a place."""
    gate = Bulkhead(20, max_wait=inf)
    with served(silent) as server:
        client = meshlib.MeshClient(mesh=mesh_of(server.port, gates=[gate]))
        tasks = closed_under(new_loop, *[lambda: client.get("http://users/slow")] * 40, turns=0)
        tasks += closed_under(new_loop, *[lambda: client.get("http://users/slow")] * 40, turns=1)
        loop_state(new_loop())  # uvloop forgets a connection that it was opening only then
        assert collected(tasks) and gate.metrics().waiting == gate.in_flight == 0


def test_a_mirrored_request_gives_back_its_place(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    with served(silent) as server, served(answering()) as good:
        (tmp_path / "mesh.yaml").write_text(
            "services: {users: {routes: [{split: users, mirror: {shadow: 100%}}]}}\n"
            f"clusters: {{users: {{endpoints: ['127.0.0.1:{good.port}']}},"
            f" shadow: {{endpoints: ['127.0.0.1:{server.port}'], bulkhead: {{max_concurrent: 2}}}}}}\n"
        )
        mesh = Mesh.from_file(tmp_path / "mesh.yaml", watch=False)
        [gate] = [gate for gate in mesh.current.clusters["shadow"].gates if isinstance(gate, Bulkhead)]
        client = meshlib.MeshClient(mesh=mesh)
        tasks = closed_under(new_loop, lambda: client.get("http://users/"))
        assert gate.in_flight == 1
        assert collected(tasks) and gate.in_flight == 0


# --- functions -----------------------------------------------------------------------------------------------------


POLICIES: dict[str, Callable[[Bulkhead], Callable[[Any], Any]]] = {
    "a bulkhead": lambda gate: gate,
    "under a timeout": lambda gate: lambda fn: Timeout(30.0)(gate(fn)),
    "under a retry": lambda gate: lambda fn: Retry(3, on=Exception)(gate(fn)),
    "hedged": lambda gate: lambda fn: Hedge(0.001, max_hedges=2)(gate(fn)),
    "single flight": lambda gate: lambda fn: SingleFlight()(gate(fn)),
    "under a deadline": lambda gate: lambda fn: _under_a_deadline(gate(fn)),
}


def _under_a_deadline(fn: Any) -> Any:
    @Retry(2, on=Exception)
    async def bounded() -> None:
        with meshlib.deadline(30.0):
            await Retry(2, on=Exception)(fn)()

    return bounded


@pytest.mark.parametrize("policy", POLICIES)
def test_a_loop_that_was_closed_under_calls_gives_back_their_places(
    policy: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    gate = Bulkhead(2, max_wait=inf)

    async def work() -> None:
        await asyncio.sleep(3600.0)

    guarded = POLICIES[policy](gate)(work)
    tasks = closed_under(new_loop, *[guarded] * 4)
    assert gate.in_flight > 0

    async def later() -> None:
        await gate.wait_async(SYSTEM, inf)  # who waits in another loop gets the place of those who are gone
        gate.leave()

    loop = new_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(_collecting(later()), 20.0))
    finally:
        loop.close()
    assert collected(tasks) and gate.in_flight == gate.metrics().waiting == 0


async def _collecting(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    while not task.done():
        gc.collect()
        await asyncio.sleep(0.001)
    await task


def test_a_line_is_not_full_of_callers_whose_loop_is_closed(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    gate = Bulkhead(1, max_queue=2, max_wait=inf)

    @gate
    async def work() -> str:
        return "done"

    with gate:
        closed_under(new_loop, work, work)
        assert gate.metrics().waiting == 2
        loop = new_loop()
        waiting = loop.create_task(work())
        loop.run_until_complete(asyncio.sleep(0.01))
        assert gate.metrics().waiting == 1
    assert loop.run_until_complete(waiting) == "done"
    loop.close()


def test_who_waits_for_a_newer_picture_in_a_closed_loop_is_forgotten(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    mesh = Mesh()
    closed_under(new_loop, lambda: mesh.newer_than(0))
    assert len(mesh._waiting) == 1
    loop = new_loop()
    waiting = loop.create_task(mesh.newer_than(0))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert len(mesh._waiting) == 1
    mesh.publish(lambda old: old)
    assert loop.run_until_complete(waiting).version == 1
    loop.close()


def test_the_calls_of_others_are_left_alone(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Only calls of this library are ended when another loop comes; and none of a loop that is open."""
    ended: list[str] = []

    async def theirs(name: str) -> None:
        try:
            await asyncio.sleep(3600.0)
        finally:
            ended.append(name)

    @Timeout(30.0)
    async def ours(name: str) -> None:
        await theirs(name)

    kept: list[Any] = []

    async def begin(number: int) -> None:
        kept.extend(asyncio.ensure_future(one) for one in (theirs(f"theirs {number}"), ours(f"ours {number}")))
        await asyncio.sleep(0.001)

    first, second, third = new_loop(), new_loop(), new_loop()
    first.run_until_complete(begin(1))
    second.run_until_complete(begin(2))
    first.close()
    loop_state(third)
    assert ended == ["ours 1"]
    for task in kept[2:]:
        task.cancel()
    second.run_until_complete(asyncio.sleep(0.001))
    assert sorted(ended[1:]) == ["ours 2", "theirs 2"]
    second.close()
    third.close()
    kept.clear()
    gc.collect()


def test_alarms_belong_to_their_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop, other = new_loop(), new_loop()
    assert timers_of(loop) is timers_of(loop) is not timers_of(other)
    known = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert known() is None
    other.close()


# --- dropped, cancelled, ended by force ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "hedged"])  # a race is for a task
def test_a_coroutine_that_is_dropped_in_the_middle_gives_back_its_place(policy: str) -> None:
    gate = Bulkhead(2)

    class Forever:
        def __await__(self) -> Iterator[None]:
            yield

    async def work() -> None:
        await Forever()

    guarded = POLICIES[policy](gate)(work)

    async def main() -> None:
        never, begun = guarded(), guarded()
        never.close()
        begun.send(None)
        assert gate.in_flight >= 1
        begun.close()
        await asyncio.sleep(0.01)
        assert gate.in_flight == 0

    asyncio.run(main())


@pytest.mark.parametrize("fast", [True, False], ids=["own road", "httpx's"])
@pytest.mark.parametrize("how", HOW)
def test_requests_that_are_cancelled_give_back_their_places(how: str, fast: bool) -> None:
    gate = Bulkhead(20)
    with served(silent) as server:
        mesh = mesh_of(server.port, gates=[gate], **HOW[how])

        async def main() -> None:
            async with meshlib.MeshClient(mesh=mesh, fast=fast) as client:
                tasks = [asyncio.ensure_future(client.get("http://users/slow")) for _ in range(5)]
                await asyncio.sleep(0.02)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                with anyio.move_on_after(0.02):
                    async with anyio.create_task_group() as group:
                        for _ in range(5):
                            group.start_soon(client.get, "http://users/slow")
                await asyncio.sleep(0)
                assert gate.in_flight == 0

        asyncio.run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_loop_that_is_left_by_force_gives_back_the_places(kind: type[BaseException]) -> None:
    gate = Bulkhead(5)
    with served(silent) as server:
        client = meshlib.MeshClient(mesh=mesh_of(server.port, gates=[gate], timeout=30.0))

        def leave() -> None:
            raise kind

        async def main() -> None:
            asyncio.get_running_loop().call_later(0.02, leave)
            await asyncio.gather(*[client.get("http://users/slow") for _ in range(5)])

        with pytest.raises(kind):
            asyncio.run(main())
        gc.collect()
        assert gate.in_flight == 0


def test_loops_in_threads_that_end_under_calls(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    gate = Bulkhead(12)
    with served(silent) as server:
        client = meshlib.MeshClient(mesh=mesh_of(server.port, gates=[gate], timeout=30.0))

        def run() -> None:
            closed_under(new_loop, *[lambda: client.get("http://users/slow")] * 3)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        gc.collect()
        assert gate.in_flight == 0


def test_an_outcome_that_nobody_waited_for_is_evidence_of_nothing() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)
    closed_under(asyncio.new_event_loop, breaker(_forever))
    gc.collect()
    assert breaker.state == "closed" and breaker.metrics().failures == 0
    breaker.leave(breaker.enter(0.0), Verdict.SUCCESS, 0.0)


async def _forever() -> None:
    await asyncio.sleep(3600.0)
