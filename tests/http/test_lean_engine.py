"""The first attempt, written out for plain requests, does and tells what the engine's own steps do and tell."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_kinds import cluster_of, in_flight, mesh_of
from support.scripted import Peer, serving

from meshlib import Bulkhead, BulkheadFull, CircuitBreaker, Mesh, MeshClient, RetryBudget
from meshlib.balancing.outlier_detection import OutlierDetection
from meshlib.http.engine.fused_attempt import FusedEngine

URL = "http://users/v1"
ANSWERS = st.lists(st.sampled_from([200, 200, 404, 429, 500, 503, 0]), max_size=9)  # 0: a reset, then always 200
CALLS = st.lists(st.sampled_from(["GET", "POST"]), min_size=1, max_size=5)
POLICIES = st.fixed_dictionaries(
    {"attempts": st.sampled_from([1, 3])},
    optional={"timeout": st.just(20.0), "per_try_timeout": st.just(10.0), "rejections": st.booleans()},
)


def _shown(event: Any) -> tuple[Any, ...]:
    """All of an event but its times and its address, which is a matter of chance."""
    error = getattr(event, "error", None)
    told = [getattr(event, name, None) for name in ("service", "verdict", "attempt", "attempts", "old", "new")]
    return type(event).__name__, event.name, type(error).__name__, *told


async def _outcomes(
    answers: list[int], calls: list[str], policies: dict[str, Any], *, kinds: tuple[str, ...], lean: bool
) -> tuple[Any, ...]:
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            status = left.pop(0) if left else 200
            if not status:
                peer.reset()
                return
            await peer.send(b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nok" % status)

    made: dict[str, Any] = {
        "breaker": CircuitBreaker(name="users", consecutive_failures=2, cooldown=1000.0),
        "bulkhead": Bulkhead(1, name="users"),
    }
    gates = [made[kind] for kind in kinds if kind in made]
    budget = RetryBudget(0.0, min_per_second=0.2, name="users")  # two retries in all
    found: list[Any] = []
    events: list[tuple[Any, ...]] = []
    async with serving(script) as server:
        mesh: Mesh = mesh_of(server.port, gates=gates, budget=budget, **policies)
        if "outlier" in kinds:
            cluster = cluster_of(mesh)
            cluster.outlier = OutlierDetection(consecutive_5xx=2, interval=1e-6, ejection_time=1000.0, max_ejected=1.0)
            cluster.outlier.update(cluster.balancer.endpoints)
        mesh.subscribe(lambda event: events.append(_shown(event)))
        for gate in gates:
            gate.subscribe(lambda event: events.append(_shown(event)))
        async with MeshClient(mesh=mesh) as client:
            for method in calls:
                try:
                    if lean:
                        response = await client.request(method, URL)
                    else:
                        response = await client.send(client.build_request(method, URL))
                    found.append((response.status_code, response.text))
                except httpx.HTTPError as error:
                    told = getattr(error, "service", None), getattr(error, "attempt", None)
                    found.append(
                        (type(error).__name__, *told, [note.replace(str(server.port), "0") for note in error.__notes__])
                    )
        asked = [line for _, line in server.requests]
    (endpoint,) = cluster_of(mesh).balancer.endpoints
    assert in_flight(mesh) == made["bulkhead"].metrics().in_flight == 0
    tally = None
    if "outlier" in kinds:
        seen = cluster_of(mesh).outlier.tally(endpoint)
        tally = seen.row, seen.gateway, seen.local, seen.multiplier
    return found, events, asked, round(budget.balance(1e9)), endpoint.run, endpoint.state, tally


@settings(max_examples=60, deadline=None)
@given(ANSWERS, CALLS, POLICIES, st.permutations(["breaker", "bulkhead", "outlier"]), st.integers(0, 3))
def test_it_does_and_tells_the_same(
    answers: list[int], calls: list[str], policies: dict[str, Any], order: list[str], number: int
) -> None:
    kinds = tuple(order[:number])
    lean = asyncio.run(_outcomes(answers, calls, policies, kinds=kinds, lean=True))
    assert lean == asyncio.run(_outcomes(answers, calls, policies, kinds=kinds, lean=False))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("max_wait", [None, inf])
async def test_a_full_bulkhead_refuses_or_makes_wait(max_wait: float | None) -> None:
    here, go = 0, asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal here
        while True:
            await peer.request()
            here += 1
            if here == 2:
                go.set()
            await go.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    bulkhead = Bulkhead(2, name="users", max_wait=max_wait)
    async with serving(script) as server:
        mesh = mesh_of(server.port, gates=[CircuitBreaker(name="users"), bulkhead])
        async with MeshClient(mesh=mesh) as client:
            tasks = [asyncio.create_task(client.get(URL)) for _ in range(5)]
            await asyncio.wait(tasks)
    errors = [type(task.exception()).__mro__[1] for task in tasks if task.exception() is not None]
    assert errors == ([BulkheadFull] * 3 if max_wait is None else [])
    assert here == (2 if max_wait is None else 5)
    metrics = bulkhead.metrics()
    assert (metrics.in_flight, metrics.waiting, metrics.rejected, in_flight(mesh)) == (0, 0, len(errors), 0)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_usual_service_takes_it_and_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    begun: list[str] = []
    begin = FusedEngine._begin

    def noted(self: Any, exchange: Any) -> Any:
        begun.append(exchange.service)
        return begin(self, exchange)

    monkeypatch.setattr(FusedEngine, "_begin", noted)  # the first of the engine's own steps
    async with serving(script) as server:
        gates = [CircuitBreaker(name="users"), Bulkhead(name="users")]
        for policies in ({}, {"timeout": 5.0}, {"gates": gates}, {"hedge": {"delay": 1.0}}):
            async with MeshClient(mesh=mesh_of(server.port, **policies)) as client:
                assert (await client.get(URL)).text == "ok"
    assert begun == ["users"]
