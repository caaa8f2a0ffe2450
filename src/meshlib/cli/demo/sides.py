"""The two ways to send a request: through the mesh, and by plain httpx taking one address after the other.

Both count what they do in the tally of their pass, and can say what they know about an endpoint.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from itertools import cycle
from typing import Protocol

import httpx

from ...call import SUCCESS
from ...events import (
    AttemptFinished,
    BreakerChanged,
    CallRejected,
    EndpointEjected,
    EndpointProbed,
    EndpointRestored,
    Event,
    SnapshotPublished,
)
from ...http.client.clients import MeshClient
from ...mesh import Endpoint, Mesh
from ...runtime import System
from .script import Tempo, weights
from .tally import Answer, Sent, Tally, Told
from .traffic import Arrival
from .world import DemoWorld

_REMARKABLE = (
    BreakerChanged,
    CallRejected,
    EndpointEjected,
    EndpointProbed,
    EndpointRestored,
    SnapshotPublished,
)
_dice: ContextVar[Callable[[], float]] = ContextVar("meshlib_demo_dice", default=random.random)


class Side(Protocol):
    """What a pass and the view need to know of either."""

    title: str

    async def send(self, arrival: Arrival) -> None: ...
    async def close(self) -> None: ...
    def in_flight(self, address: str) -> int: ...
    def state(self, address: str) -> str: ...
    def breakers(self) -> dict[str, str]: ...
    def balance(self) -> int | None: ...


class _Dice(System):
    """The usual runtime, but chance is what the arrival at hand brings."""

    __slots__ = ()

    @staticmethod
    def random() -> float:
        return _dice.get()()


class MeshSide:
    """Through `MeshClient`; everything the mesh tells goes into the tally."""

    title = "through MeshClient"

    def __init__(self, world: DemoWorld, tempo: Tempo, tally: Tally, clock: Callable[[], float]) -> None:
        self._tally = tally
        self._clock = clock
        self._mesh = Mesh.from_file(world.mesh_yaml, runtime=_Dice())
        self._client = MeshClient(mesh=self._mesh)
        self._mesh.subscribe(self._hear)

    async def send(self, arrival: Arrival) -> None:
        _dice.set(arrival.dice().random)
        await _ask(self._client, "http://users/v1/me", arrival, self._tally, self._clock)

    async def close(self) -> None:
        await self._client.aclose()
        await asyncio.to_thread(self._mesh.close)

    def in_flight(self, address: str) -> int:
        endpoint = self._endpoint(address)
        return endpoint.pending if endpoint is not None else 0

    def state(self, address: str) -> str:
        endpoint = self._endpoint(address)
        return endpoint.state if endpoint is not None else ""

    def breakers(self) -> dict[str, str]:
        clusters = self._mesh.current.clusters.items()
        return {name: str(cluster.breaker.state) for name, cluster in clusters if cluster.breaker is not None}

    def balance(self) -> int | None:
        budget = self._mesh.current.services["users"].budget
        return budget.balance(self._mesh.runtime.now()) if budget is not None else None

    def _endpoint(self, address: str) -> Endpoint | None:
        for cluster in self._mesh.current.clusters.values():
            for endpoint in cluster.balancer.endpoints:
                if endpoint.address == address:
                    return endpoint
        return None

    def _hear(self, event: Event) -> None:
        at = self._clock()
        if isinstance(event, AttemptFinished):
            self._tally.sent.append(Sent(at - event.took, event.took, event.verdict is SUCCESS, event.address))
        elif isinstance(event, _REMARKABLE):
            self._tally.told.append(Told(at, event))


class PlainSide:
    """By `httpx.AsyncClient`, in turn over the addresses of the version that the draw and the weights choose."""

    title = "through plain httpx, round robin"

    def __init__(self, world: DemoWorld, tempo: Tempo, tally: Tally, clock: Callable[[], float]) -> None:
        self._tally = tally
        self._clock = clock
        self._length = tempo.length
        self._client = httpx.AsyncClient()
        self._turns = {version: cycle([one.address for one in world.of(version)]) for version in ("v1", "v2")}
        self._in_flight: Counter[str] = Counter()

    async def send(self, arrival: Arrival) -> None:
        v1, v2 = weights(arrival.due / self._length)
        first = v2 == 0 or (v1 > 0 and arrival.dice().random() < v1 / (v1 + v2))  # the mesh's own rule
        address = next(self._turns["v1" if first else "v2"])
        self._in_flight[address] += 1
        at = self._clock()
        ok = await _ask(self._client, f"http://{address}/v1/me", arrival, self._tally, self._clock)
        self._in_flight[address] -= 1
        self._tally.sent.append(Sent(at, self._clock() - at, ok, address))

    async def close(self) -> None:
        await self._client.aclose()

    def in_flight(self, address: str) -> int:
        return self._in_flight[address]

    def state(self, address: str) -> str:
        return "not known"

    def breakers(self) -> dict[str, str]:
        return {}

    def balance(self) -> int | None:
        return None


async def _ask(client: httpx.AsyncClient, url: str, arrival: Arrival, tally: Tally, clock: Callable[[], float]) -> bool:
    """Send one request and note what the caller got. What is no HTTP error is a defect, and is raised."""
    sent = clock()
    ok, server = False, ""
    try:
        response = await client.get(url)
        ok, server = response.is_success, response.headers.get("x-server", "")
    except httpx.HTTPError:
        pass
    tally.answers.append(Answer(arrival.due, clock() - arrival.due, ok, server, sent))
    return ok
