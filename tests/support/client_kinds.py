"""Client kinds: all four client classes through one handle, and small meshes for them.

`ClientKind.make()` gives a client whose methods are awaited, whichever it is: a sync client works in a thread, as it
would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio.to_thread
import httpx
import httpx2

import meshlib
import meshlib.httpx2
from meshlib import Cluster, Endpoint, Mesh, Service, Snapshot
from meshlib.balancing import ClusterHealth, make_balancer
from meshlib.http.engine.service_pipeline import service_pipeline
from meshlib.policies.shell.gate import Gate
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable
from meshlib.routing.table import ServiceRoutes as Routed
from meshlib.runtime import SYSTEM, Runtime

TLS = httpx.create_ssl_context()


class ClientKind:
    """One of the four classes. `lib` is its family."""

    def __init__(self, lib: Any, kind: type[Any], *, is_async: bool, fast: bool = True) -> None:
        self.lib = lib
        self.kind = kind
        self.is_async = is_async
        self.fast = fast
        self.name = f"{lib.__name__}-{'async' if is_async else 'sync'}{'' if fast else '-httpx-road'}"

    def make(self, **arguments: Any) -> Any:
        """A client. All share one TLS context, unless they are told another: to make one takes longer than a test."""
        arguments.setdefault("verify", TLS)
        return self.kind(**arguments) if self.fast else self.kind(fast=False, **arguments)

    @asynccontextmanager
    async def open(self, mesh: Mesh | None, **arguments: Any) -> AsyncIterator[Any]:
        """An open client: every method is to be awaited, and `stream` is an async context."""
        client = self.make(mesh=mesh, **arguments)
        handle = Handle(client, self.is_async)
        try:
            yield handle
        finally:
            await (client.aclose() if self.is_async else anyio.to_thread.run_sync(client.close))

    def body(self, *pieces: bytes, error: BaseException | None = None) -> Any:
        """A body that comes in pieces, and then breaks off with `error`."""

        class Body(self.lib.AsyncByteStream, self.lib.SyncByteStream):  # type: ignore[misc]
            closed = 0

            def __iter__(self) -> Iterator[bytes]:
                yield from pieces
                if error is not None:
                    raise error

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for piece in pieces:
                    yield piece
                if error is not None:
                    raise error

            def close(self) -> None:
                self.closed += 1

            async def aclose(self) -> None:
                self.closed += 1

        return Body()


CLIENT_KINDS = [
    ClientKind(httpx, meshlib.MeshClient, is_async=True),
    ClientKind(httpx, meshlib.SyncMeshClient, is_async=False),
    ClientKind(httpx2, meshlib.httpx2.MeshClient, is_async=True),
    ClientKind(httpx2, meshlib.httpx2.SyncMeshClient, is_async=False),
]
# The async client kinds off the fast path, too: over sockets each must do the same as on it.
WIRED = [
    *CLIENT_KINDS,
    *(
        ClientKind(client_kind.lib, client_kind.kind, is_async=True, fast=False)
        for client_kind in CLIENT_KINDS
        if client_kind.is_async
    ),
]


class Handle:
    def __init__(self, client: Any, is_async: bool) -> None:
        self.client = client
        self._is_async = is_async

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if self._is_async or not callable(method) or name == "build_request":
            return method
        return lambda *args, **kwargs: anyio.to_thread.run_sync(partial(method, *args, **kwargs))

    async def read(self, response: Any) -> bytes:
        if self._is_async:
            return await response.aread()  # type: ignore[no-any-return]
        return await anyio.to_thread.run_sync(response.read)

    async def close(self, response: Any) -> None:
        await (response.aclose() if self._is_async else anyio.to_thread.run_sync(response.close))

    async def chunks(self, response: Any) -> list[bytes]:
        if self._is_async:
            return [chunk async for chunk in response.aiter_raw()]
        return await anyio.to_thread.run_sync(lambda: list(response.iter_raw()))

    @asynccontextmanager
    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if self._is_async:
            async with self.client.stream(*args, **kwargs) as response:
                yield response
        else:
            request = self.client.build_request(*args, **kwargs)
            response = await self.send(request, stream=True)
            try:
                yield response
            finally:
                await self.close(response)


def mesh_of(
    *endpoints: Endpoint | int | str,
    name: str = "users",
    gates: Sequence[Gate] = (),
    statuses: Sequence[int] = (502, 503, 504),
    tls_name: str | None = None,
    egress: str | None = None,
    runtime: Runtime = SYSTEM,
    **policies: Any,
) -> Mesh:
    """A mesh with one service of one cluster. Endpoints may be given as ports of loopback. No waits between tries."""
    mesh = Mesh(runtime=runtime)
    add(mesh, *endpoints, name=name, gates=gates, statuses=statuses, tls_name=tls_name, egress=egress, **policies)
    return mesh


def add(
    mesh: Mesh,
    *endpoints: Endpoint | int | str,
    name: str = "users",
    gates: Sequence[Gate] = (),
    statuses: Sequence[int] = (502, 503, 504),
    tls_name: str | None = None,
    egress: str | None = None,
    **policies: Any,
) -> Cluster:
    places = [_endpoint(one) for one in endpoints or ("10.0.0.1", "10.0.0.2", "10.0.0.3")]
    health = ClusterHealth(name, consecutive_failures=0, minimum_calls=1 << 30)
    cluster = Cluster(name, make_balancer("default", name, places, health=health), gates, tls_name=tls_name)
    pipeline = service_pipeline(name, mesh.runtime, **{"backoff": 0.0, **policies})
    service = Service(name, pipeline, statuses=frozenset(statuses))

    def change(now: Snapshot) -> Snapshot:
        routed = [*now.routes.services.values(), Routed(name, default=Split(name))]
        return Snapshot(
            routes=RouteTable(routed, unknown=egress),
            services={**now.services, name: service},
            clusters={**now.clusters, name: cluster},
        )

    mesh.publish(change)
    return cluster


def _endpoint(one: Endpoint | int | str) -> Endpoint:
    if isinstance(one, Endpoint):
        return one
    if isinstance(one, int):
        return Endpoint("127.0.0.1", one)
    return Endpoint(one, 0 if one.startswith("unix:") else 8001)


def cluster_of(mesh: Mesh, name: str = "users") -> Cluster:
    return mesh.current.clusters[name]


def in_flight(mesh: Mesh, name: str = "users") -> int:
    return sum(endpoint.pending for endpoint in cluster_of(mesh, name).balancer.endpoints)


class Server:
    """What a MockTransport asks: remembers the wire requests, and answers what the test says, in order.

    An answer is a status, an exception, a response, or a function of the request; the last one repeats.
    """

    def __init__(self, client_kind: ClientKind, *answers: Any) -> None:
        self.client_kind = client_kind
        self.seen: list[Any] = []
        self.timeouts: list[dict[str, float | None]] = []  # as they were when the request came
        self._answers = list(answers or [200])

    def __call__(self, request: Any) -> Any:
        if self.client_kind.is_async:
            return self._read_then_answer(request)
        request.read()
        return self._answer(request)

    async def _read_then_answer(self, request: Any) -> Any:
        await request.aread()
        return self._answer(request)

    def _answer(self, request: Any) -> Any:
        self.seen.append(request)
        self.timeouts.append(dict(request.extensions["timeout"]))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, int):
            return self.client_kind.lib.Response(answer, json={"endpoint": request.url.host})
        return answer(request) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]

    @property
    def transport(self) -> Any:
        return self.client_kind.lib.MockTransport(self)

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.seen]


class HandClock:
    """The real runtime but for the time, which stands still unless a test moves it."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock[0]

    def random(self) -> float:
        return 0.5

    def sleep(self, seconds: float) -> None:
        self._clock[0] += seconds

    async def sleep_async(self, seconds: float) -> None:
        self._clock[0] += seconds

    async def until(self, deadline: float, work: Any) -> Any:
        return await work
