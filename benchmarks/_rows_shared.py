"""Rows of hot_path.py: what lets calls share their answers, or their quota; and whole clients over a stub."""

from __future__ import annotations

import asyncio
import functools
import importlib
import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import httpx
from guards import Decorate, Make, Row, Section, asking, is_async, of, within

# --- one run for many -----------------------------------------------------------------------------------------------


def scoped() -> Decorate:
    """Within one `request_scope`, in which everything was asked once already."""
    mesh = importlib.import_module("meshlib")
    mesh.request_scope().__enter__()
    return mesh.RequestCache()  # type: ignore[no-any-return]


def async_lru() -> Decorate:
    return importlib.import_module("async_lru").alru_cache(maxsize=1000)  # type: ignore[no-any-return]


def cachetools() -> Decorate:
    module = importlib.import_module("cachetools")
    return module.cached(module.TTLCache(1000, 300.0))  # type: ignore[no-any-return]


CACHE = Section(
    (
        Row("meshlib", scoped),
        Row("functools.lru_cache", lambda: functools.lru_cache(1000), is_async=False,
            why="it is written in C, and remembers for all and for all time: no scope to end, no flight to join"),
        Row("async_lru", async_lru, "async-lru", sync=False),
        Row("cachetools", cachetools, "cachetools", is_async=False),
        Row("nopanic", of("nopanic", "cache", 300.0), "nopanic"),
        Row("pyresilience", lambda: _remembering(), "pyresilience"),
    ),
    about="A hit. Ours remembers for one request, the others for a time: the nearest that there is.",
)  # fmt: skip


def _remembering() -> Decorate:
    module = importlib.import_module("pyresilience")
    return module.resilient(cache=module.CacheConfig())  # type: ignore[no-any-return]


def coalescer() -> Decorate:
    run = importlib.import_module("aiocoalesce").Coalescer().run

    def decorate(fn: Any) -> Any:
        async def guarded(x: Any) -> Any:
            return await run(x, fn(x))

        return guarded

    return decorate


def single(name: str, make: Make, peer: str | None = None, **more: Any) -> Row:
    return Row(name, make, peer, failing=make, **more)


FLIGHT = Section(
    (
        single("meshlib", of("meshlib", "SingleFlight")),
        single("resilix", of("resilix", "protect.single_flight"), "resilix", sync=False),
        single("grit", of("grit", "singleflight"), "grit-toolkit",
               why="a cancelled leader leaves the others waiting for ever; calls are equal when they print alike"),
        single("aiocoalesce", coalescer, "aiocoalesce", sync=False),
    ),
    about="A call that meets no other.",
)  # fmt: skip


def burst(load_one: Callable[[], Callable[[int], Any]]) -> Make:
    """One call of the benchmark is a hundred calls at once, and whatever batches become of them."""

    def make() -> Decorate:
        one = load_one()

        async def hundred(_: Any) -> Any:
            return await asyncio.gather(*map(one, range(100)))

        return lambda fn: hundred

    return make


async def many(items: list[int]) -> list[int]:
    return items


def dataloader() -> Callable[[int], Any]:
    """Made inside a running loop, which it asks for."""
    load: Callable[[int], Any] | None = None

    def one(item: int) -> Any:
        nonlocal load
        if load is None:
            load = importlib.import_module("aiodataloader").DataLoader(many, cache=False).load
        return load(item)

    return one


def by_hand() -> Callable[[int], Any]:
    waiting: list[tuple[int, asyncio.Future[int]]] = []
    running: deque[asyncio.Task[None]] = deque(maxlen=1)

    async def go() -> None:
        batch = waiting[:]
        waiting.clear()
        for (_, future), answer in zip(batch, await many([item for item, _ in batch]), strict=True):
            future.set_result(answer)

    def one(item: int) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        waiting.append((item, future))
        if len(waiting) == 100:
            running.append(loop.create_task(go()))
        return future

    return one


COLLAPSE = Section(
    (
        Row("meshlib", burst(lambda: of("meshlib", "collapse", max_batch=100)()(many)), sync=False),
        Row("closure", burst(by_hand), sync=False,
            why="futures by hand: no task per caller, no bound in time, no cancellation"),
        Row("aiodataloader", burst(dataloader), "aiodataloader", sync=False,
            why="it gives futures where we give coroutines, so that `gather` makes no tasks of them; a batch is all "
            "that one turn of the loop asks, not what comes within some milliseconds"),
    ),
    about="A burst of a hundred calls that become one batch; nanoseconds per burst.",
)  # fmt: skip


# --- one quota for many -----------------------------------------------------------------------------------------------


SERVERS: list[subprocess.Popen[bytes]] = []


def close() -> None:
    for server in SERVERS:
        server.kill()


@functools.cache
def redis_port() -> int:
    """A redis-server of our own, which ends with us."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise FileNotFoundError("redis-server is not here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    SERVERS.append(server)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return port
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("redis-server did not answer")


def quota(limit: float, per: float, name: str) -> Make:
    def make() -> Decorate:
        port = redis_port()
        redis, redis_async = importlib.import_module("redis"), importlib.import_module("redis.asyncio")
        meshlib = importlib.import_module("meshlib")
        store = meshlib.RedisStore(redis.Redis(port=port), redis_async.Redis(port=port))
        return meshlib.Quota(limit, per=per, store=store, when_away="closed", name=name)  # type: ignore[no-any-return]

    return make


def limits_quota() -> Callable[[], object]:
    module = importlib.import_module("limits")
    importlib.import_module("limits.storage")
    hit = module.strategies.FixedWindowRateLimiter(module.storage.RedisStorage(f"redis://127.0.0.1:{redis_port()}")).hit
    item = module.RateLimitItemPerSecond(10**9)
    return lambda: hit(item, "bench")


def throttled_quota() -> Callable[[], object]:
    module = importlib.import_module("throttled")
    store = module.RedisStore(server=f"redis://127.0.0.1:{redis_port()}/0")
    limit = module.Throttled(using="token_bucket", quota=module.per_sec(10**6), store=store).limit
    return lambda: not limit("bench").limited


def self_limiters() -> Decorate:
    """Written in Rust, for asyncio alone."""
    make = importlib.import_module("self_limiters").TokenBucket
    bucket = make("bench", 10**6, 0.001, 10**6, f"redis://127.0.0.1:{redis_port()}", 5.0)
    return within(None, lambda: bucket)()


ROUND_TRIP = "it counts in a fixed window with one INCRBY, where we run the bucket's arithmetic in a script"
QUOTA = Section(
    (
        Row("meshlib", quota(10**6, 1.0, "wide"), tight=quota(3, 3600.0, "tight")),
        Row("limits", asking(limits_quota), "limits", is_async=False, why=ROUND_TRIP),
        Row("throttled-py", asking(throttled_quota), "throttled-py", is_async=False,
            why="its script answers a number; ours also knows what to do "
            "when the store is away, and how long to wait"),
        Row("self-limiters", self_limiters, "self-limiters", sync=False,
            why="it talks to Redis from Rust, in threads of its own"),
    ),
    refuses="spend",
    about="A round trip to a redis-server on loopback is in each of these; CPU of this process alone.",
)  # fmt: skip


# --- whole clients ---------------------------------------------------------------------------------------------------


class Stub(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"{}")


class AsyncStub(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"{}")


def client(sync: Callable[[Any], Any], asynchronous: Callable[[Any], Any]) -> Make:
    def make() -> Decorate:
        def decorate(fn: Any) -> Any:
            url = "http://users.internal/v1/me"
            if is_async(fn):
                get_async = asynchronous(AsyncStub()).get

                async def guarded_async(x: Any) -> Any:
                    return await get_async(url)

                return guarded_async
            get = sync(Stub()).get
            return lambda x: get(url)

        return decorate

    return make


def httpx_with(transport: Callable[[Any, bool], Any]) -> Make:
    """httpx's own client over a transport that wraps the stub; `True` for the async one."""
    return client(
        lambda stub: httpx.Client(transport=transport(stub, False)),
        lambda stub: httpx.AsyncClient(transport=transport(stub, True)),
    )


def interlock_transport(stub: Any, asynchronous: bool) -> Any:
    module = importlib.import_module("interlock.integrations.httpx")
    return (module.AsyncCircuitBreakerTransport if asynchronous else module.CircuitBreakerTransport)(stub)


def retries_transport(stub: Any, asynchronous: bool) -> Any:
    return importlib.import_module("httpx_retries").RetryTransport(stub)


def clientwright() -> Decorate:
    """Its defaults (retry with a budget, breaker, deadline) with its own telemetry off."""
    if sys.version_info < (3, 12):
        raise RuntimeError("needs Python 3.12")
    module = importlib.import_module("clientwright")

    quiet = module.ObservabilityConfig(logging=False, metrics=False, tracing=False)
    config = module.ClientConfig("bench", observability=quiet)

    def over(stub: Any, build: Callable[..., Any]) -> Any:
        made = build("httpx", config)
        made._transport._inner = stub  # it owns its transport, and offers no other way to put one under it
        return made

    return client(lambda stub: over(stub, module.build_sync), lambda stub: over(stub, module.build))()


def mesh_client(name: str) -> Callable[[Any], Any]:
    return lambda stub: getattr(importlib.import_module("meshlib"), name)(transport=stub)


BARE = "the bare client: no policies at all"
CLIENT = Section(
    (
        Row("meshlib", client(mesh_client("SyncMeshClient"), mesh_client("MeshClient"))),
        Row("httpx alone", httpx_with(lambda stub, _: stub), why=BARE),
        Row("httpx-retries", httpx_with(retries_transport), "httpx-retries", why="it retries and does nothing else"),
        Row("interlock", httpx_with(interlock_transport), "interlock-cb",
            why="a breaker alone, which is told at the headers: a body that breaks is a success to it"),
        Row("clientwright", clientwright, "clientwright"),
    ),
    about="A whole GET over a transport that answers at once: httpx's own requests and responses are in each of these. "
    "Over its own wire, which no custom transport can have, `MeshClient` is quicker than httpx alone: see "
        "[clients](#clients).",
)  # fmt: skip

SECTIONS = {
    "request cache": CACHE,
    "single flight": FLIGHT,
    "collapse": COLLAPSE,
    "quota in redis": QUOTA,
    "client over a stub": CLIENT,
}
