"""A request that is cancelled at any of its waits, one after the other, holds nothing afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from itertools import count
from typing import Any

import anyio
import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, in_flight, mesh_of
from support.loopback import served
from support.scripted import OK, Peer

from meshlib import Bulkhead, CircuitBreaker, Mesh, State

pytestmark = pytest.mark.anyio
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class Cut:
    """Awaits `work`, which is cancelled at its `at`-th wait: before (`late`: after) what it waits for has come.

    `cancel` cancels this very task.
    """

    def __init__(self, work: Any, at: int, cancel: Callable[[], object], *, late: bool) -> None:
        self._work = work
        self._at = at
        self._cancel = cancel
        self._late = late
        self.whole = False  # whether it had ended before

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        given, thrown = None, None
        for number in count(1):
            try:
                waits = steps.send(given) if thrown is None else steps.throw(thrown)
            except StopIteration:
                self.whole = number <= self._at
                return
            given, thrown = None, None
            if number == self._at and not self._late:
                self._cancel()
            try:
                given = yield waits
                if number == self._at and self._late:
                    self._cancel()
                    yield  # a bare turn of asyncio's loop, which brings the cancellation
            except BaseException as error:
                thrown = error


async def cut(ask: Callable[[], Awaitable[object]], at: int, *, late: bool, on_asyncio: bool) -> bool:
    """Whether `ask` ended by itself before its `at`-th wait."""
    if on_asyncio:

        async def run() -> None:
            await Cut(ask(), at, task.cancel, late=late)

        task = asyncio.ensure_future(run())
        await asyncio.wait([task])
        return not task.cancelled() and task.result() is None and not task.cancelling()
    with anyio.CancelScope() as scope:
        one = Cut(ask(), at, scope.cancel, late=False)
        await one
        return one.whole
    return False


async def alternating(peer: Peer) -> None:
    """Every other answer of a connection is worth another try, beginning with the first of every other connection."""
    for number in count(peer.number):
        await peer.request()
        await peer.send(BUSY if number % 2 else OK)


async def halves(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK[:-1])
        await asyncio.sleep(0.001)
        await peer.send(OK[-1:])


@pytest.mark.parametrize("late", [False, True], ids=["waiting", "served"])
@pytest.mark.parametrize("fast", [False, True], ids=["httpx", "fast"])
@pytest.mark.parametrize("kind", ["plain", "streamed", "retried", "hedged", "hedged stream", "limited"])
async def test_nothing_is_held_after_a_cancellation_at_any_wait(
    kind: str, fast: bool, late: bool, anyio_backend: str
) -> None:
    on_asyncio = anyio_backend == "asyncio"
    if not on_asyncio and (fast or late):
        return  # the fast lane is asyncio's, and on trio what has come is never taken away again
    for client_kind in CLIENT_KINDS:
        if client_kind.is_async:
            await _cut_everywhere(client_kind, kind, fast, late, on_asyncio)


async def _cut_everywhere(client_kind: ClientKind, kind: str, fast: bool, late: bool, on_asyncio: bool) -> None:
    bulkhead, breaker = Bulkhead(3, name="users"), CircuitBreaker(name="users")
    hedge = {"delay": 0.0, "max_extra_load": 1.0} if "hedged" in kind else None
    limits = {"limits": client_kind.lib.Limits(max_connections=3)} if kind == "limited" else {}
    with served(alternating if kind == "retried" else halves) as one, served(halves) as two:
        mesh = mesh_of(one.port, two.port, gates=[breaker, bulkhead], hedge=hedge, timeout=60.0)
        async with client_kind.open(mesh, fast=fast, timeout=60.0, **limits) as client:

            async def ask() -> None:
                if "stream" in kind:
                    async with client.stream("GET", "http://users/") as response:
                        await client.read(response)
                else:
                    await client.get("http://users/")

            for at in count(1):
                whole = await cut(ask, at, late=late, on_asyncio=on_asyncio)
                _check_nothing_is_held(client.client, mesh, bulkhead)
                if whole and at > 1:
                    break
            for _ in range(5):
                await ask()
            _check_nothing_is_held(client.client, mesh, bulkhead)
    assert breaker.state is State.CLOSED


def _check_nothing_is_held(client: Any, mesh: Mesh, bulkhead: Bulkhead) -> None:
    state = client.__dict__["_meshlib_door"]
    assert (in_flight(mesh), bulkhead.metrics().in_flight, bulkhead.metrics().waiting) == (0, 0, 0)
    assert not state.busy
    if state.limit is not None:
        assert state.limit._slots.metrics().in_flight == 0
    for station in state.lane._stations.values() if state.lane is not None else ():
        for pool in station._pools.values():
            assert (pool.active, pool.pending) == (0, 0)
